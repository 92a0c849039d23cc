/* What a pid namespace costs for each process: medians in milliseconds. SECURITY.md has the
 * figures.
 *
 *   gcc -O1 -static -o pid_namespace bench/pid_namespace.c
 *   foothold run --guest uml-6.1 --limit none --no-trace --subject ./pid_namespace
 *   unshare --user --map-root-user --mount ./pid_namespace */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum kind { PLAIN, NAMESPACE, NAMESPACE_WITH_PROC, KINDS };
enum { ROUNDS = 60 };

static const char *const names[KINDS] = {"fork and exec", "in a pid namespace",
	"in one with a mount namespace and a /proc of its own"};

static double milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int compare(const void *one, const void *other)
{
	double difference = *(const double *)one - *(const double *)other;
	return (difference > 0) - (difference < 0);
}

static void run_subject(char *self)
{
	execl(self, self, "exit", (char *)NULL);
	_exit(1);
}

/* The init of the namespace, which waits for its subject. */
static void run_init(enum kind kind, char *self)
{
	int status;
	if (kind == NAMESPACE_WITH_PROC && (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
						   mount("proc", "/proc", "proc", 0, NULL) < 0))
		_exit(1);
	pid_t subject = fork();
	if (subject == 0)
		run_subject(self);
	while (wait(&status) != subject)
		;
	_exit(status != 0);
}

static double run_once(enum kind kind, char *self)
{
	unsigned long flags = SIGCHLD;
	if (kind != PLAIN)
		flags |= CLONE_NEWPID;
	if (kind == NAMESPACE_WITH_PROC)
		flags |= CLONE_NEWNS;
	double started = milliseconds();
	int status;
	pid_t child = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	if (child == 0 && kind == PLAIN)
		run_subject(self);
	if (child == 0)
		run_init(kind, self);
	if (child < 0 || waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "%s: refused\n", names[kind]);
		exit(1);
	}
	return milliseconds() - started;
}

int main(int argc, char **argv)
{
	static double taken[KINDS][ROUNDS];
	if (argc > 1 && !strcmp(argv[1], "exit"))
		return 0;
	for (int round = 0; round < ROUNDS; round++)
		for (int kind = 0; kind < KINDS; kind++)
			taken[kind][round] = run_once((enum kind)kind, argv[0]);
	for (int kind = 0; kind < KINDS; kind++) {
		qsort(taken[kind], ROUNDS, sizeof(double), compare);
		printf("%s: %.2f ms\n", names[kind], taken[kind][ROUNDS / 2]);
	}
	return 0;
}
