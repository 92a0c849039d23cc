/* Limits of a subject: those of its process, and those of the whole guest while it runs. */
#ifndef FOOTHOLD_SUBJECT_LIMITS_H
#define FOOTHOLD_SUBJECT_LIMITS_H

#include "syscall_filter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* A setting of the kernel: a file below /proc/sys, or of /sys. */
struct setting {
	char *path;
	const char *value; /* to set */
	char *before;      /* to restore; NULL: not set yet */
};

struct limits {
	uint64_t rlimit[RLIM_NLIMITS];
	bool has_rlimit[RLIM_NLIMITS];
	bool soft_only[RLIM_NLIMITS]; /* the hard limit stays as it is */
	int cpu;                      /* -1: any */
	const char *chroot;           /* NULL: the root of the agent */
	const char *chdir;            /* NULL: the directory of the agent */
	const char *user; /* name or number in the passwd of its root; NULL: that of the agent */
	const char **env;
	size_t envs;
	unsigned long persona; /* flags of personality(2) to add */
	bool refuse_wx;        /* memory that is writable and executable: write_execute.h */
	const char **no_exec;  /* directories whose files cannot be executed: no_exec.h */
	size_t no_execs;
	struct filter_code filter; /* of a seccomp profile */
	uint64_t memory;           /* bytes of a cgroup of its own; 0: none */
	char *cgroup;              /* its directory; NULL: none */
	struct setting *setting;
	size_t settings;
};

#define NO_LIMITS ((struct limits){.cpu = -1})

/* Parse the option at argv[at], if it is one of these:
 *   --rlimit NAME=NUMBER[:soft]   --cpu N   --chroot DIR   --chdir DIR   --env NAME=VALUE   --user
 * NAME
 *   --layout fixed|legacy   --memory BYTES   --sysctl vm/NAME=VALUE   --cgroup DIR
 *   --thp always|madvise|never   --write-execute refused   --no-exec DIR
 *   --seccomp HEX (struct sock_filter[])
 * Returns how many words it has, 0 if it is another option, or -EINVAL for an invalid value. */
int limits_option(struct limits *limits, int argc, char **argv, int at);
void limits_free(struct limits *limits);

/* Before the fork: make the cgroup and change the settings of the kernel. Everything is undone by
 * limits_leave(), or when the process exits without it. Returns 0 or a negative errno; then REFUSED
 * says what this guest refuses. */
int limits_enter(struct limits *limits, char *refused, size_t room);
/* Restore what limits_enter() changed, after all processes of the subject have ended. */
void limits_leave(struct limits *limits);
/* In the child, before exec: apply the limits of the process. Calls die() on failure. */
void limits_apply(const struct limits *limits);
/* The last step before exec: refuse calls, as wx=refused and the filter of a profile do. It may be
 * all but exec. If the tracer stops the subject by a filter, which is older, the tracer refuses
 * them. Returns 0 or a negative errno. */
int limits_refuse_calls(const struct limits *limits, bool traced);
/* Will a seccomp filter refuse calls of the subject? Such a call reaches no other filter: a tracer
 * that stops the subject by a filter does not see it. */
bool limits_filter_calls(const struct limits *limits);

#endif
