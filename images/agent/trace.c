/* A subject under strace, and the last step of every subject, traced or not.
 *
 * strace -DD forks its tracer away, so that the process it was started as becomes the subject: its
 * pid, parent, exit status and resource use are the subject's own. What strace writes goes into
 * its stderr, which is the supervisor's pipe: its log, and what it complains of. Limits are
 * applied in the tracee alone, by `agent exec`, or they would strangle strace. A process can have
 * one tracer: where there are faults (bend.c), the trace is ours (told.c). */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a ledger of reservations is made of. A call that this machine does not have is left out (?). */
#define CALLS "trace=brk,mmap,?mmap2,munmap,mprotect,mremap,execve,execveat,clone,?clone3," \
	"?fork,?vfork,prlimit64,?setrlimit,?getrlimit,exit,exit_group"

static int tracer_of_self(void)
{
	char *status = slurp("/proc/self/status", NULL);
	char *at = status ? strstr(status, "\nTracerPid:") : NULL;
	int tracer = at ? atoi(at + 11) : 0;
	free(status);
	return tracer;
}

/* Become the program, with ERR as its stderr. REPORT gets "+TRACER\n" at once, and then a complaint
 * if it comes to that. If LAST, it holds before it ends (last.c). */
void become_program(const struct limits *limits, const struct bend *bend, int last, char **program, int report, int err)
{
	char text[32];
	fcntl(report, F_SETFD, FD_CLOEXEC);
	fcntl(err, F_SETFD, FD_CLOEXEC);
	snprintf(text, sizeof text, "+%d\n", tracer_of_self());
	last_hand_over(report, last ? last_filter() : -1, text);
	dup2(report, 2); /* what limits_apply complains of is not the subject's stderr */
	limits_apply(limits);
	bend_child(bend);
	dup2(err, 2);
	execvp(program[0], program);
	dprintf(report, "cannot execute %s: %s", program[0], strerror(errno));
	_exit(EXIT_AGENT);
}

/* Become strace, which starts `agent exec`, which becomes the program. OPTIONS are those of `run`. */
void become_traced(const char *strace, const struct limits *limits, char **options, int count, char **program,
                   int trace, int report, int err)
{
	static const char *fixed[] = { "-DD", "-f", "--seccomp-bpf", "-a", "1", "-o", "/proc/self/fd/2", "-e", CALLS, "--" };
	char self[4096], report_text[16], err_text[16];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	int words = 0, at = 0;
	while (program[words])
		words++;
	const char **argv = calloc(sizeof fixed / sizeof *fixed + (size_t)count + (size_t)words + 11, sizeof *argv);
	argv[at++] = strace;
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		argv[at++] = fixed[i];
	self[length > 0 ? length : 0] = 0;
	snprintf(report_text, sizeof report_text, "%d", report);
	snprintf(err_text, sizeof err_text, "%d", err);
	argv[at++] = self;
	argv[at++] = "exec";
	argv[at++] = report_text;
	argv[at++] = err_text;
	for (int i = 0; i < count; i++)
		argv[at++] = options[i];
	if (*limits->group) {
		argv[at++] = "--group";
		argv[at++] = limits->group;
	}
	argv[at++] = "--";
	for (int i = 0; i < words; i++)
		argv[at++] = program[i];
	fcntl(report, F_SETFD, 0);
	fcntl(err, F_SETFD, 0);
	dup2(trace, 2);
	execv(strace, (char **)argv);
	fprintf(stderr, "strace: cannot execute %s: %s\n", strace, strerror(errno));
	_exit(EXIT_AGENT);
}

/* agent exec REPORT ERR [OPTIONS of run] -- PROGRAM */
int exec_main(int argc, char **argv)
{
	struct limits limits = { .cpu = -1 };
	struct bend bend = { .occupied = 0 };
	struct manner manner = { .strace = NULL };
	char **program = run_options(&limits, &bend, &manner, argc, argv, 4);
	become_program(&limits, &bend, manner.last, program, (int)number(argv[2]), (int)number(argv[3]));
}
