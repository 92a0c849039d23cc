/* What narrows a process: applied in the child, after fork and before exec; and what narrows the
 * whole guest, which is set before and set back afterwards. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct { const char *name; int resource; } resources[] = {
	{ "as", RLIMIT_AS },       { "data", RLIMIT_DATA },     { "stack", RLIMIT_STACK },
	{ "core", RLIMIT_CORE },   { "nofile", RLIMIT_NOFILE }, { "nproc", RLIMIT_NPROC },
	{ "fsize", RLIMIT_FSIZE }, { "cpu", RLIMIT_CPU },       { "memlock", RLIMIT_MEMLOCK },
};

/* Take one option at argv[at] if it is one of ours; answer how many words were taken.
 *   --rlimit NAME=BYTES   --cpu N   --chroot DIR   --chdir DIR   --env NAME=VALUE
 *   --layout fixed|legacy   --memory BYTES   --sysctl vm/NAME=VALUE                       */
int limits_option(struct limits *limits, int argc, char **argv, int at)
{
	if (at + 1 >= argc)
		return 0;
	char *value = argv[at + 1];
	if (!strcmp(argv[at], "--rlimit")) {
		char *equals = strchr(value, '=');
		for (size_t i = 0; equals && i < sizeof resources / sizeof *resources; i++)
			if (!strncmp(value, resources[i].name, (size_t)(equals - value)) &&
			    strlen(resources[i].name) == (size_t)(equals - value) && limits->rlimits < 16) {
				limits->rlimit[limits->rlimits].resource = resources[i].resource;
				limits->rlimit[limits->rlimits++].value = number(equals + 1);
				return 2;
			}
		errno = EINVAL;
		fail("unknown --rlimit", value);
	}
	if (!strcmp(argv[at], "--layout") && (!strcmp(value, "fixed") || !strcmp(value, "legacy"))) {
		limits->persona |= *value == 'f' ? ADDR_NO_RANDOMIZE : ADDR_COMPAT_LAYOUT;
		return 2;
	}
	if (!strcmp(argv[at], "--memory")) {
		limits->memory = number(value);
		return 2;
	}
	if (!strcmp(argv[at], "--group")) { /* of `exec`: what limits_enter of its supervisor has made */
		snprintf(limits->group, sizeof limits->group, "%s", value);
		return 2;
	}
	if (!strcmp(argv[at], "--sysctl") && limits->settings < 4 && strchr(value, '=')) {
		int i = limits->settings++, name = (int)strcspn(value, "=");
		snprintf(limits->setting[i].path, sizeof limits->setting[i].path, "/proc/sys/%.*s", name, value);
		limits->setting[i].value = value + name + 1;
		return 2;
	}
	if (!strcmp(argv[at], "--cpu")) {
		limits->cpu = (int)number(value);
		return 2;
	}
	if (!strcmp(argv[at], "--chroot")) {
		limits->chroot = value;
		return 2;
	}
	if (!strcmp(argv[at], "--chdir")) {
		limits->chdir = value;
		return 2;
	}
	if (!strcmp(argv[at], "--env") && limits->envs < 64) {
		limits->env[limits->envs++] = value;
		return 2;
	}
	return 0;
}

/* Before the fork: what the child cannot set for itself alone. */
void limits_enter(struct limits *limits)
{
	if (limits->memory)
		group_make(limits->memory, limits->group, sizeof limits->group);
	for (int i = 0; i < limits->settings; i++) {
		char *before = slurp(limits->setting[i].path, NULL);
		snprintf(limits->setting[i].before, sizeof limits->setting[i].before, "%s", before ? before : "");
		free(before);
		if (!put_text(limits->setting[i].path, limits->setting[i].value)) {
			int error = errno;
			limits->settings = i; /* those before it are set back */
			limits_leave(limits);
			errno = error;
			fail("cannot set", limits->setting[i].path);
		}
	}
}

/* When all that the child has started is gone. */
void limits_leave(struct limits *limits)
{
	for (int i = limits->settings; i-- > 0;)
		put_text(limits->setting[i].path, limits->setting[i].before);
	if (*limits->group)
		group_remove(limits->group);
}

void limits_apply(const struct limits *limits)
{
	if (limits->cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((size_t)limits->cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set) < 0)
			fail("cannot pin to processor", NULL);
	}
	if (*limits->group)
		group_join(limits->group);
	if (limits->chroot && (chroot(limits->chroot) < 0 || chdir("/") < 0))
		fail("cannot have for its root", limits->chroot);
	if (limits->chdir && chdir(limits->chdir) < 0)
		fail("cannot enter", limits->chdir);
	for (int i = 0; i < limits->envs; i++)
		putenv((char *)limits->env[i]);
	if (limits->persona && personality((unsigned long)personality(0xffffffff) | limits->persona) < 0)
		fail("cannot choose the layout of its memory", NULL);
	for (int i = 0; i < limits->rlimits; i++) {
		struct rlimit both = { limits->rlimit[i].value, limits->rlimit[i].value };
		if (setrlimit(limits->rlimit[i].resource, &both) < 0)
			fail("cannot set a resource limit", NULL);
	}
}
