/* Keep a guest's process: `keep` passes its own descriptors on to the child and only watches. Its owner
 * is whoever holds the other end of --owner FD. */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int keep_main(int argc, char **argv)
{
	struct limits limits = { .cpu = -1 };
	struct confinement confinement = { .paths = 0 };
	struct bend unbent = { .occupied = 0 };
	int at = 2, owner = -1;
	for (int taken = 1; at < argc && taken > 0; at += taken) {
		taken = limits_option(&limits, argc, argv, at);
		if (!taken)
			taken = confine_option(&confinement, argc, argv, at);
		if (!taken && !strcmp(argv[at], "--owner") && at + 1 < argc) {
			owner = (int)number(argv[at + 1]);
			fcntl(owner, F_SETFD, FD_CLOEXEC);
			taken = 2;
		}
	}
	char **program = after_dashes(argc, argv, at);
	int signals = child_signals();
	pid_t self = getpid(), pid = fork();
	if (pid < 0)
		fail("cannot fork for", program[0]);
	if (pid == 0) {
		become_subject(self, -1);
		const char *refused = confinement.paths ? confine(&confinement) : NULL;
		if (refused)
			fail("cannot confine the guest:", refused);
		limits_apply(&limits);
		execv(program[0], program);
		fail("cannot execute", program[0]);
	}
	setpgid(pid, pid);
	int status = 0, ended = 0, wanted = 0, more = 0;
	struct rusage usage;
	while (!ended && !wanted) {
		struct pollfd fds[2] = { { signals, POLLIN, 0 }, { owner, POLLIN, 0 } };
		if (poll(fds, 2, more ? 0 : -1) < 0)
			continue;
		if (fds[0].revents || more)
			ended = reap(signals, pid, &unbent, &status, &usage, &wanted, &more);
		if (fds[1].revents)
			wanted = 1; /* nothing is ever written there: it has been closed */
	}
	sweep(pid, 0);
	if (!ended)
		return EXIT_AGENT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
