#define _GNU_SOURCE
#include "guest_keeper.h"

#include "guest_filter.h"
#include "process_tree.h"
#include "protection.h"
#include "run_options.h"
#include "sandbox.h"
#include "subject_limits.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIDFD_OPEN 434 /* Linux 5.3; older headers lack it. The number is the same everywhere. */

typedef int supervisor(int argc, char **argv);

struct keeper {
	struct limits limits;
	struct sandbox sandbox;
	int owner;          /* -1: none */
	int pidfd;          /* of the keeper, for its child; -1: none, before Linux 5.3 */
	const char *cgroup; /* in which its child starts, and which it removes; NULL: none */
	char **program;
	supervisor *supervise; /* NULL: the program is executed */
};

static int owner_option(struct keeper *keeper, int argc, char **argv, int at)
{
	uint64_t owner;
	if (strcmp(argv[at], "--owner") != 0 || at + 1 >= argc)
		return 0;
	if (parse_number(argv[at + 1], &owner) < 0 || owner > INT32_MAX)
		return -EINVAL;
	keeper->owner = (int)owner;
	fcntl(keeper->owner, F_SETFD, FD_CLOEXEC);
	return 2;
}

static int cgroup_option(struct keeper *keeper, int argc, char **argv, int at)
{
	if (strcmp(argv[at], "--own-cgroup") != 0 || at + 1 >= argc)
		return 0;
	keeper->cgroup = argv[at + 1];
	return 2;
}

static void parse(struct keeper *keeper, int argc, char **argv, supervisor *supervise)
{
	const char *rejected;
	int at = 2;
	*keeper = (struct keeper){.limits = NO_LIMITS, .owner = -1, .supervise = supervise};
	for (int words = 1; at < argc && words; at += words) {
		words = limits_option(&keeper->limits, argc, argv, at);
		if (!words)
			words = sandbox_option(&keeper->sandbox, argc, argv, at);
		if (!words)
			words = owner_option(keeper, argc, argv, at);
		if (!words)
			words = cgroup_option(keeper, argc, argv, at);
		if (words < 0)
			die_of_usage(argv[at + 1]);
	}
	int program = find_program(argc, argv, at, &rejected);
	if (program < 0)
		die_of_usage(rejected);
	keeper->program = argv + program;
	if (strcmp(argv[program], argv[0]) != 0 || program + 1 >= argc ||
		strcmp(argv[program + 1], "run") != 0)
		keeper->supervise = NULL;
}

static noreturn void die_of_sandbox(int error, const char *step)
{
	die(-error, "cannot make a sandbox for the guest:", step);
}

/* In the sandbox: all that the guest's process gives up. */
static void confine(const struct sandbox *sandbox)
{
	const char *step;
	int error = sandbox_enter(sandbox, &step);
	if (error)
		die_of_sandbox(error, step);
	sandbox_fork();
	sandbox_drop_capabilities();
}

/* The init of a pid namespace cannot see by getppid(2) that the keeper died before the init asked
 * for its death signal. KEEPER is a pidfd: it is readable once the keeper has ended. */
static void die_if_ended(int keeper)
{
	struct pollfd ended = {keeper, POLLIN, 0};
	if (poll(&ended, 1, 0) > 0)
		_exit(EXIT_AGENT);
	close(keeper);
}

/* In the child: become the supervisor, as by an exec. It protects itself later: a tracer attaches
 * to a child that is dumpable. */
static noreturn void become_supervisor(const struct keeper *keeper, const struct process_tree *tree)
{
	int words = 0;
	while (keeper->program[words])
		words++;
	close(tree->signals);
	close(keeper->owner);
	unprotect_process();
	exit(keeper->supervise(words, keeper->program));
}

static noreturn void become_guest(const struct keeper *keeper, const struct process_tree *tree)
{
	bool confined = keeper->sandbox.paths > 0;
	die_if_ended(keeper->pidfd);
	if (confined)
		confine(&keeper->sandbox);
	limits_apply(&keeper->limits);
	int error = confined ? guest_filter_install() : 0;
	if (error)
		die(-error, "cannot filter the system calls of", keeper->program[0]);
	if (keeper->supervise)
		become_supervisor(keeper, tree);
	execv(keeper->program[0], keeper->program);
	die(errno, "cannot execute", keeper->program[0]);
}

/* Fork into the cgroup. If the kernel refuses it (Linux before 5.7, a filter), the cgroup is
 * removed: the harness sees by that that it holds no process. */
static pid_t fork_guest(const struct keeper *keeper, struct process_tree *tree)
{
	if (!keeper->cgroup)
		return process_tree_fork(tree, -1, -1);
	int cgroup = open(keeper->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pid = cgroup < 0 ? -errno : process_tree_fork(tree, -1, cgroup);
	if (pid != 0 && cgroup >= 0)
		close(cgroup);
	if (pid >= 0)
		return pid;
	rmdir(keeper->cgroup);
	return process_tree_fork(tree, -1, -1);
}

/* Until the guest ends, its owner is gone, or the agent is asked to stop. */
static void watch(struct process_tree *tree, int owner)
{
	enum { SIGNALS, OWNER, SLOTS };
	bool owner_gone = false;
	while (!tree->ended && !tree->stop_requested && !owner_gone) {
		struct pollfd slots[SLOTS] = {
			[SIGNALS] = {tree->signals, POLLIN, 0},
			[OWNER] = {owner, POLLIN, 0},
		};
		if (poll(slots, SLOTS, tree->more ? 0 : -1) < 0)
			continue;
		if (slots[SIGNALS].revents || tree->more) {
			process_tree_reap(tree, NULL, NULL);
			process_tree_continue(tree); /* a subject can stop its supervisor */
		}
		owner_gone = slots[OWNER].revents != 0; /* nothing is ever written there */
	}
}

int keep_main(int argc, char **argv, int (*supervise)(int argc, char **argv))
{
	struct keeper keeper;
	struct process_tree tree;
	const char *step;
	parse(&keeper, argc, argv, supervise);
	process_tree_open(&tree);
	keeper.pidfd = (int)syscall(PIDFD_OPEN, getpid(), 0);
	int error = keeper.sandbox.paths ? sandbox_begin(&step) : 0;
	if (error)
		die_of_sandbox(error, step);
	protect_process(); /* not before: only a dumpable process may map its users */
	pid_t pid = fork_guest(&keeper, &tree);
	if (pid < 0)
		die(-pid, "cannot fork for", keeper.program[0]);
	if (pid == 0)
		become_guest(&keeper, &tree);
	watch(&tree, keeper.owner);
	process_tree_kill(&tree, 0);
	if (keeper.cgroup)
		rmdir(keeper.cgroup);
	return tree.ended ? process_tree_exit_code(&tree) : EXIT_AGENT;
}
