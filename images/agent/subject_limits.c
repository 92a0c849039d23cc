#define _GNU_SOURCE
#include "subject_limits.h"

#include "account.h"
#include "cgroup.h"
#include "util.h"

#include <errno.h>
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

/* NAME=BYTES */
static int rlimit_option(struct limits *limits, const char *value)
{
	size_t length = strcspn(value, "=");
	uint64_t bytes;
	if (!value[length] || parse_number(value + length + 1, &bytes) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
		if (strlen(resources[i].name) == length &&
			!strncmp(resources[i].name, value, length)) {
			limits->rlimit[resources[i].resource] = bytes;
			limits->has_rlimit[resources[i].resource] = true;
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

/* GROUP/NAME=VALUE */
static int sysctl_option(struct limits *limits, const char *value)
{
	size_t length = strcspn(value, "=");
	char path[256];
	if (!length || !value[length] || length > sizeof path - sizeof "/proc/sys/")
		return -EINVAL;
	snprintf(path, sizeof path, "/proc/sys/%.*s", (int)length, value);
	limits->sysctl = grow(limits->sysctl, limits->sysctls, sizeof *limits->sysctl);
	limits->sysctl[limits->sysctls++] =
		(struct sysctl){.path = xstrndup(path, sizeof path), .value = value + length + 1};
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
	if (!strcmp(option, "--env"))
		return env_option(limits, value);
	if (!strcmp(option, "--cpu"))
		return cpu_option(limits, value);
	if (!strcmp(option, "--memory"))
		return parse_number(value, &limits->memory) < 0 ? -EINVAL : 2;
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
	for (size_t i = 0; i < limits->sysctls; i++) {
		free(limits->sysctl[i].path);
		free(limits->sysctl[i].before);
	}
	free(limits->sysctl);
	free(limits->env);
	free(limits->cgroup);
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

void limits_enter(struct limits *limits)
{
	entered = limits;
	entered_by = getpid();
	atexit(leave_at_exit);
	if (limits->memory) {
		int error = cgroup_create(limits->memory, &limits->cgroup);
		if (error)
			die(-error, "cannot make a memory cgroup", NULL);
	}
	for (size_t i = 0; i < limits->sysctls; i++) {
		struct sysctl *sysctl = &limits->sysctl[i];
		char *before = read_file(sysctl->path, NULL);
		if (!before)
			die(errno, "cannot read", sysctl->path);
		sysctl->before = before;
		int error = write_file(sysctl->path, sysctl->value);
		if (error)
			die(-error, "cannot set", sysctl->path);
	}
}

void limits_leave(struct limits *limits)
{
	entered = NULL;
	for (size_t i = limits->sysctls; i-- > 0;)
		if (limits->sysctl[i].before)
			write_file(limits->sysctl[i].path, limits->sysctl[i].before);
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

static void set_rlimit(int resource, uint64_t value)
{
	struct rlimit limit = {(rlim_t)value, (rlim_t)value};
	if (setrlimit(resource, &limit) < 0)
		die(errno, "cannot set a resource limit", NULL);
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

void limits_apply(const struct limits *limits)
{
	int error;
	if (limits->cpu >= 0)
		pin(limits->cpu);
	int version = limits->cgroup ? enter_cgroup(limits->cgroup) : 0;
	if (limits->chroot && (chroot(limits->chroot) < 0 || chdir("/") < 0))
		die(errno, "cannot change the root to", limits->chroot);
	if (limits->cgroup && (error = cgroup_show(version)) < 0)
		die(-error, "cannot mount the cgroup", limits->cgroup);
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
			set_rlimit(resource, limits->rlimit[resource]);
}
