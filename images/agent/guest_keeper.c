#define _GNU_SOURCE
#include "guest_keeper.h"

#include "process_tree.h"
#include "run_options.h"
#include "sandbox.h"
#include "subject_limits.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

struct keeper {
	struct limits limits;
	struct sandbox sandbox;
	int owner; /* -1: none */
	char **program;
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

static void parse(struct keeper *keeper, int argc, char **argv)
{
	const char *rejected;
	int at = 2;
	*keeper = (struct keeper){.limits = NO_LIMITS, .owner = -1};
	for (int words = 1; at < argc && words; at += words) {
		words = limits_option(&keeper->limits, argc, argv, at);
		if (!words)
			words = sandbox_option(&keeper->sandbox, argc, argv, at);
		if (!words)
			words = owner_option(keeper, argc, argv, at);
		if (words < 0)
			die_of_usage(argv[at + 1]);
	}
	int program = find_program(argc, argv, at, &rejected);
	if (program < 0)
		die_of_usage(rejected);
	keeper->program = argv + program;
}

static noreturn void become_guest(const struct keeper *keeper)
{
	const char *step;
	int error = keeper->sandbox.paths ? sandbox_enter(&keeper->sandbox, &step) : 0;
	if (error)
		die(-error, "cannot make a sandbox for the guest:", step);
	limits_apply(&keeper->limits);
	execv(keeper->program[0], keeper->program);
	die(errno, "cannot execute", keeper->program[0]);
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
		if (slots[SIGNALS].revents || tree->more)
			process_tree_reap(tree, NULL, NULL);
		owner_gone = slots[OWNER].revents != 0; /* nothing is ever written there */
	}
}

int keep_main(int argc, char **argv)
{
	struct keeper keeper;
	struct process_tree tree;
	parse(&keeper, argc, argv);
	process_tree_open(&tree);
	pid_t pid = process_tree_fork(&tree, -1);
	if (pid < 0)
		die(-pid, "cannot fork for", keeper.program[0]);
	if (pid == 0)
		become_guest(&keeper);
	watch(&tree, keeper.owner);
	process_tree_kill(&tree, 0);
	return tree.ended ? process_tree_exit_code(&tree) : EXIT_AGENT;
}
