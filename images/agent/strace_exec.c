#define _GNU_SOURCE
#include "strace_exec.h"

#include "exit_maps.h"
#include "protection.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The calls of a trace. A call that this architecture, or strace, lacks is left out (?).
 * docs/mapping-calls.md says what each call does. */
#define CALLS                                                                                      \
	"trace=brk,mmap,?mmap2,munmap,mprotect,?pkey_mprotect,mremap,mincore,?remap_file_pages,"   \
	"?shmget,?shmat,?shmdt,?map_shadow_stack,?mseal,?process_madvise,?io_setup,?io_destroy,"   \
	"?io_uring_setup,?userfaultfd,personality,execve,execveat,clone,?clone3,?fork,?vfork,"     \
	"prlimit64,?setrlimit,?getrlimit,exit,exit_group"
/* The calls that name files, and how a program ends. */
#define FILE_CALLS "trace=%file,exit_group"

static int tracer_of_this_process(void)
{
	char *status = read_file("/proc/self/status", NULL);
	int tracer = (int)number_after(status, "\nTracerPid:");
	free(status);
	return tracer;
}

noreturn void become_subject(const struct child *child)
{
	char text[32];
	fcntl(child->report, F_SETFD, FD_CLOEXEC);
	fcntl(child->error, F_SETFD, FD_CLOEXEC);
	snprintf(text, sizeof text, "+%d\n", tracer_of_this_process());
	exit_filter_pass(child->report, child->exit_filter ? exit_filter_install() : -1, text);
	dup2(child->report, STDERR_FILENO); /* for what limits_apply() complains of */
	weaken_subject();
	limits_apply(child->limits);
	tracer_prepare_child(child->tracer);
	dup2(child->error, STDERR_FILENO);
	int error = limits_refuse_calls(child->limits, tracer_needed(child->tracer));
	if (error) {
		dprintf(child->report, "cannot refuse calls: %s", strerror(-error));
		_exit(EXIT_AGENT);
	}
	execvp(child->program[0], child->program);
	dprintf(child->report, "cannot execute %s: %s", child->program[0], strerror(errno));
	_exit(EXIT_AGENT);
}

/* A list of words for exec. */
struct words {
	const char **word;
	size_t count;
};

static void append(struct words *words, const char *word)
{
	words->word = grow(words->word, words->count, sizeof *words->word);
	words->word[words->count++] = word;
}

/* An alarm of 3 s ends strace, without a word, if it has not attached to its child by then. On a
 * busy machine that takes longer. The subject inherits this, until allow_alarms(). */
static void mask_alarms(int how)
{
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(how, &alarms, NULL);
}

static void allow_alarms(void)
{
	signal(SIGALRM, signal(SIGALRM, SIG_IGN)); /* drops one that is pending */
	mask_alarms(SIG_UNBLOCK);
}

noreturn void become_strace(
	const struct child *child, const char *strace, char **options, int count, int trace)
{
	static const char *fixed[] = {"-DD", "-f", "-a", "1", "-o", "/proc/self/fd/2"};
	char self[4096], report[16], error[16];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	self[length > 0 ? length : 0] = 0;
	snprintf(report, sizeof report, "%d", child->report);
	snprintf(error, sizeof error, "%d", child->error);
	struct words argv = {NULL, 0};
	append(&argv, strace);
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		append(&argv, fixed[i]);
	/* the kernel asks a tracer before the filters, if that does not stop by a filter itself */
	if (!limits_filter_calls(child->limits))
		append(&argv, "--seccomp-bpf");
	append(&argv, "-e");
	append(&argv, child->trace_files ? FILE_CALLS : CALLS);
	append(&argv, "--");
	append(&argv, self);
	append(&argv, "exec");
	append(&argv, report);
	append(&argv, error);
	for (int i = 0; i < count; i++)
		append(&argv, options[i]);
	if (child->limits->cgroup) {
		append(&argv, "--cgroup");
		append(&argv, child->limits->cgroup);
	}
	append(&argv, "--");
	for (char **word = child->program; *word; word++)
		append(&argv, *word);
	append(&argv, NULL);
	fcntl(child->report, F_SETFD, 0);
	fcntl(child->error, F_SETFD, 0);
	dup2(trace, STDERR_FILENO);
	mask_alarms(SIG_BLOCK);
	execv(strace, (char **)argv.word);
	fprintf(stderr, "strace: cannot execute %s: %s\n", strace, strerror(errno));
	_exit(EXIT_AGENT);
}

static int parse_descriptor(const char *text)
{
	uint64_t descriptor;
	if (parse_number(text, &descriptor) < 0 || descriptor > INT32_MAX)
		die_of_usage(text);
	return (int)descriptor;
}

noreturn void exec_main(int argc, char **argv)
{
	struct run_options options;
	const struct tracer untraced = {.writes_trace = false};
	const char *rejected;
	if (argc < 4)
		die_of_usage(NULL);
	int report = parse_descriptor(argv[2]), error = parse_descriptor(argv[3]);
	allow_alarms();
	int program = run_options_parse(&options, argc, argv, 4, &rejected);
	if (program < 0)
		die_of_usage(rejected);
	become_subject(&(struct child){
		.limits = &options.limits,
		.tracer = &untraced,
		.exit_filter = options.exit_maps,
		.program = argv + program,
		.report = report,
		.error = error,
	});
}
