/* How a forked child becomes the subject, under strace or not.
 *
 * strace -DD forks its tracer away, so that the process as which it was started becomes the
 * subject: pid, parent, exit status and resource use are those of the subject. Its log goes to its
 * standard error, a pipe of the supervisor, and so do its complaints. Limits are applied by `agent
 * exec`, in the tracee alone; strace would suffer from them. Where there are faults, the agent is
 * the tracer (tracer.c), because a process has only one. */
#ifndef FOOTHOLD_STRACE_EXEC_H
#define FOOTHOLD_STRACE_EXEC_H

#include "run_options.h"
#include "tracer.h"

#include <stdnoreturn.h>

/* A child that becomes the subject. */
struct child {
	const struct limits *limits;
	const struct tracer *tracer;
	bool trace_files; /* strace traces the calls that name files, instead of those that map */
	bool exit_filter; /* it stops at its exit (exit_maps.c) */
	char **program;   /* argv of the subject; ends with NULL */
	int report;       /* gets "+TRACER\n" (0: not traced), and a complaint if exec fails */
	int error;        /* standard error of the subject */
};

/* Become the subject. */
noreturn void become_subject(const struct child *child);
/* Become strace, which starts `agent exec`, which becomes the subject. OPTIONS are the words of
 * `run` before "--", COUNT of them. TRACE gets the log of strace. */
noreturn void become_strace(
	const struct child *child, const char *strace, char **options, int count, int trace);

/* agent exec REPORT ERROR [OPTIONS of run] -- PROGRAM: the child below strace. */
noreturn void exec_main(int argc, char **argv);

#endif
