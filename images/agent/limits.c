/* What narrows a process: applied in the child, after fork and before exec. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct { const char *name; int resource; } resources[] = {
	{ "as", RLIMIT_AS },       { "data", RLIMIT_DATA },     { "stack", RLIMIT_STACK },
	{ "core", RLIMIT_CORE },   { "nofile", RLIMIT_NOFILE }, { "nproc", RLIMIT_NPROC },
	{ "fsize", RLIMIT_FSIZE }, { "cpu", RLIMIT_CPU },       { "memlock", RLIMIT_MEMLOCK },
};

/* Take one option at argv[at] if it is one of ours; answer how many words were taken.
 *   --rlimit NAME=BYTES   --cpu N   --chdir DIR   --env NAME=VALUE                       */
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
	if (!strcmp(argv[at], "--cpu")) {
		limits->cpu = (int)number(value);
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

void limits_apply(const struct limits *limits)
{
	if (limits->cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((size_t)limits->cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set) < 0)
			fail("cannot pin to processor", NULL);
	}
	if (limits->chdir && chdir(limits->chdir) < 0)
		fail("cannot enter", limits->chdir);
	for (int i = 0; i < limits->envs; i++)
		putenv((char *)limits->env[i]);
	for (int i = 0; i < limits->rlimits; i++) {
		struct rlimit both = { limits->rlimit[i].value, limits->rlimit[i].value };
		if (setrlimit(limits->rlimit[i].resource, &both) < 0)
			fail("cannot set a resource limit", NULL);
	}
}
