#define _GNU_SOURCE
#include "subject_limits.h"

#include "account.h"
#include "cgroup.h"
#include "no_exec.h"
#include "subject_root.h"
#include "util.h"
#include "write_execute.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct {
	const char *name;
	int resource;
} resources[] = {
	{"as", RLIMIT_AS},
	{"data", RLIMIT_DATA},
	{"stack", RLIMIT_STACK},
	{"core", RLIMIT_CORE},
	{"nofile", RLIMIT_NOFILE},
	{"nproc", RLIMIT_NPROC},
	{"fsize", RLIMIT_FSIZE},
	{"cpu", RLIMIT_CPU},
	{"memlock", RLIMIT_MEMLOCK},
};

/* NAME=NUMBER[:soft] */
static int rlimit_option(struct limits *limits, const char *value)
{
	size_t length = strcspn(value, "=");
	char number[32];
	uint64_t bytes;
	if (!value[length])
		return -EINVAL;
	const char *suffix = strchrnul(value + length, ':');
	snprintf(number, sizeof number, "%.*s", (int)(suffix - value - length - 1),
		value + length + 1);
	if (parse_number(number, &bytes) < 0 || (*suffix && strcmp(suffix, ":soft") != 0))
		return -EINVAL;
	for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
		if (strlen(resources[i].name) == length &&
			!strncmp(resources[i].name, value, length)) {
			limits->rlimit[resources[i].resource] = bytes;
			limits->has_rlimit[resources[i].resource] = true;
			limits->soft_only[resources[i].resource] = *suffix != 0;
			return 2;
		}
	return -EINVAL;
}

static int layout_option(struct limits *limits, const char *value)
{
	if (!strcmp(value, "fixed"))
		limits->persona |= ADDR_NO_RANDOMIZE;
	else if (!strcmp(value, "legacy"))
		limits->persona |= ADDR_COMPAT_LAYOUT;
	else
		return -EINVAL;
	return 2;
}

static void add_setting(struct limits *limits, const char *path, const char *value)
{
	limits->setting = grow(limits->setting, limits->settings, sizeof *limits->setting);
	limits->setting[limits->settings++] =
		(struct setting){.path = xstrndup(path, PATH_MAX), .value = value};
}

/* GROUP/NAME=VALUE */
static int sysctl_option(struct limits *limits, const char *value)
{
	size_t length = strcspn(value, "=");
	char path[256];
	if (!length || !value[length] || length > sizeof path - sizeof "/proc/sys/")
		return -EINVAL;
	snprintf(path, sizeof path, "/proc/sys/%.*s", (int)length, value);
	add_setting(limits, path, value + length + 1);
	return 2;
}

static int thp_option(struct limits *limits, const char *value)
{
	if (strcmp(value, "always") != 0 && strcmp(value, "madvise") != 0 &&
		strcmp(value, "never") != 0)
		return -EINVAL;
	add_setting(limits, "/sys/kernel/mm/transparent_hugepage/enabled", value);
	return 2;
}

static int env_option(struct limits *limits, const char *value)
{
	size_t length = strcspn(value, "=");
	if (!length || !value[length])
		return -EINVAL;
	limits->env = grow(limits->env, limits->envs, sizeof *limits->env);
	limits->env[limits->envs++] = value;
	return 2;
}

static int cpu_option(struct limits *limits, const char *value)
{
	uint64_t cpu;
	if (parse_number(value, &cpu) < 0 || cpu >= CPU_SETSIZE)
		return -EINVAL;
	limits->cpu = (int)cpu;
	return 2;
}

static int cgroup_option(struct limits *limits, const char *value)
{
	free(limits->cgroup);
	limits->cgroup = xstrndup(value, strlen(value));
	return 2;
}

static int write_execute_option(struct limits *limits, const char *value)
{
	limits->refuse_wx = !strcmp(value, "refused");
	return limits->refuse_wx ? 2 : -EINVAL;
}

static int no_exec_option(struct limits *limits, const char *value)
{
	if (*value != '/')
		return -EINVAL;
	limits->no_exec = grow(limits->no_exec, limits->no_execs, sizeof *limits->no_exec);
	limits->no_exec[limits->no_execs++] = value;
	return 2;
}

int limits_option(struct limits *limits, int argc, char **argv, int at)
{
	if (at + 1 >= argc)
		return 0;
	const char *option = argv[at], *value = argv[at + 1];
	if (!strcmp(option, "--rlimit"))
		return rlimit_option(limits, value);
	if (!strcmp(option, "--layout"))
		return layout_option(limits, value);
	if (!strcmp(option, "--sysctl"))
		return sysctl_option(limits, value);
	if (!strcmp(option, "--thp"))
		return thp_option(limits, value);
	if (!strcmp(option, "--env"))
		return env_option(limits, value);
	if (!strcmp(option, "--cpu"))
		return cpu_option(limits, value);
	if (!strcmp(option, "--memory"))
		return parse_number(value, &limits->memory) < 0 ? -EINVAL : 2;
	if (!strcmp(option, "--write-execute"))
		return write_execute_option(limits, value);
	if (!strcmp(option, "--no-exec"))
		return no_exec_option(limits, value);
	if (!strcmp(option, "--seccomp"))
		return filter_code_parse(&limits->filter, value) < 0 ? -EINVAL : 2;
	if (!strcmp(option, "--cgroup")) /* of `exec`: the supervisor has made it */
		return cgroup_option(limits, value);
	if (!strcmp(option, "--chroot"))
		limits->chroot = value;
	else if (!strcmp(option, "--chdir"))
		limits->chdir = value;
	else if (!strcmp(option, "--user"))
		limits->user = value;
	else
		return 0;
	return 2;
}

void limits_free(struct limits *limits)
{
	for (size_t i = 0; i < limits->settings; i++) {
		free(limits->setting[i].path);
		free(limits->setting[i].before);
	}
	free(limits->setting);
	free(limits->env);
	free(limits->no_exec);
	free(limits->cgroup);
	free(limits->filter.statement);
	*limits = NO_LIMITS;
}

/* What an exit of this process has to undo; a child inherits the handler, but not the duty. */
static struct limits *entered;
static pid_t entered_by;

static void leave_at_exit(void)
{
	if (entered && getpid() == entered_by)
		limits_leave(entered);
}

/* The value of a setting. A file of /sys lists all values, the present one in brackets. Returns
 * NULL and sets errno if it cannot be read. */
static char *present_value(const char *path)
{
	char *text = read_file(path, NULL), *open = text ? strchr(text, '[') : NULL;
	const char *value = open ? open + 1 : text;
	if (!text)
		return NULL;
	char *copy = xstrndup(value, strcspn(value, open ? "]" : "\n"));
	free(text);
	return copy;
}

/* The kernel may accept a value and take another one: fewer huge pages, if memory is short. */
static int change_setting(struct setting *setting)
{
	setting->before = present_value(setting->path);
	if (!setting->before)
		return -errno;
	int error = write_file(setting->path, setting->value);
	if (error)
		return error;
	char *taken = present_value(setting->path);
	if (!taken || strcmp(taken, setting->value) != 0)
		error = -ENOMEM;
	free(taken);
	return error;
}

int limits_enter(struct limits *limits, char *refused, size_t room)
{
	int error = 0;
	entered = limits;
	entered_by = getpid();
	atexit(leave_at_exit);
	if (limits->memory && (error = cgroup_create(limits->memory, &limits->cgroup)))
		snprintf(refused, room, "cannot make a memory cgroup: %s", strerror(-error));
	if (limits->no_execs && !error && (error = subject_root_check()))
		snprintf(refused, room, "mounts are not changed outside of a guest");
	for (size_t i = 0; i < limits->settings && !error; i++) {
		error = change_setting(&limits->setting[i]);
		if (error)
			snprintf(refused, room, "cannot set %s to %s: %s", limits->setting[i].path,
				limits->setting[i].value, strerror(-error));
	}
	return error;
}

void limits_leave(struct limits *limits)
{
	entered = NULL;
	for (size_t i = limits->settings; i-- > 0;)
		if (limits->setting[i].before)
			write_file(limits->setting[i].path, limits->setting[i].before);
	if (limits->cgroup)
		cgroup_remove(limits->cgroup);
}

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0)
		die(errno, "cannot pin to processor", NULL);
}

static const char *resource_name(int resource)
{
	size_t at = 0;
	while (resources[at].resource != resource)
		at++;
	return resources[at].name;
}

static void set_rlimit(int resource, uint64_t value, bool soft_only)
{
	struct rlimit limit = {0, (rlim_t)value};
	if (soft_only)
		getrlimit(resource, &limit);
	limit.rlim_cur = (rlim_t)value;
	if (setrlimit(resource, &limit) < 0)
		die(errno, "cannot set the resource limit", resource_name(resource));
}

/* Now the passwd of its root is our own. The death signal is lost with the user: prctl(2). */
static void become_user(const char *name)
{
	struct account account;
	int error = account_find("", name, &account);
	if (!error)
		error = account_become(&account);
	if (error)
		die(-error, "cannot become the user", name);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Returns the version of the hierarchy. */
static int enter_cgroup(const char *directory)
{
	int error = cgroup_join(directory);
	if (error < 0)
		die(-error, "cannot join the cgroup", directory);
	int version = cgroup_hide();
	if (version < 0)
		die(-version, "cannot hide the other cgroups than", directory);
	return version;
}

static void refuse_exec(const struct limits *limits)
{
	for (size_t i = 0; i < limits->no_execs; i++) {
		int error = no_exec_mount(limits->no_exec[i]);
		if (error)
			die(-error, "cannot refuse to execute files of", limits->no_exec[i]);
	}
}

void limits_apply(const struct limits *limits)
{
	int error;
	if (limits->cpu >= 0)
		pin(limits->cpu);
	int version = limits->cgroup ? enter_cgroup(limits->cgroup) : 0;
	if (limits->no_execs && (error = no_exec_prepare()) < 0)
		die(-error, "cannot give the subject mounts of its own", NULL);
	if (limits->chroot && (chroot(limits->chroot) < 0 || chdir("/") < 0))
		die(errno, "cannot change the root to", limits->chroot);
	if (limits->cgroup && (error = cgroup_show(version)) < 0)
		die(-error, "cannot mount the cgroup", limits->cgroup);
	refuse_exec(limits);
	if (limits->chdir && chdir(limits->chdir) < 0)
		die(errno, "cannot change the directory to", limits->chdir);
	if (limits->chdir && getenv("PWD"))
		setenv("PWD", limits->chdir, 1);
	if (limits->user)
		become_user(limits->user);
	for (size_t i = 0; i < limits->envs; i++)
		if (putenv((char *)limits->env[i]))
			die(errno, "cannot set the environment variable", limits->env[i]);
	if (limits->persona &&
		personality((unsigned long)personality(0xffffffff) | limits->persona) < 0)
		die(errno, "cannot choose the memory layout", NULL);
	for (int resource = 0; resource < RLIM_NLIMITS; resource++)
		if (limits->has_rlimit[resource])
			set_rlimit(resource, limits->rlimit[resource], limits->soft_only[resource]);
}

bool limits_filter_calls(const struct limits *limits)
{
	return limits->filter.count || (limits->refuse_wx && write_execute_prctl() != 0);
}

int limits_refuse_calls(const struct limits *limits, bool traced)
{
	int error = limits->refuse_wx ? write_execute_refuse(traced) : 0;
	if (error || !limits->filter.count)
		return error;
	if (traced)
		filter_code_trace(&limits->filter);
	return filter_code_install(&limits->filter);
}
