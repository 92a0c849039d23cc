/* Machines for which bend.c does not know the registers: there are no faults, and saying so is all. */
#ifndef __x86_64__
#include "agent.h"

#include <errno.h>
#include <string.h>

int bend_option(struct bend *bend, int argc, char **argv, int at)
{
	(void)bend;
	if (at + 1 >= argc || (strcmp(argv[at], "--occupy") && strcmp(argv[at], "--ignore-hints") && strcmp(argv[at], "--fail")))
		return 0;
	errno = ENOSYS;
	fail("on this machine there are no faults such as", argv[at]);
}

void bend_child(const struct bend *bend) { (void)bend; }
void bend_start(struct bend *bend, pid_t pid) { (void)bend, (void)pid; }

int bend_stop(struct bend *bend, pid_t tid, int status)
{
	(void)bend, (void)tid, (void)status;
	return 0;
}
#endif
