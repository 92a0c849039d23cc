/* A subject on a terminal of its own: whoever talks to it has its input, its output and its size. */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Make a terminal, and put its ends in the place of the pipes: ours in in[1] and out[0], the
 * subject's in the others. What was there is closed; there is nothing in err[0], for a terminal
 * has one output. Answers the subject's end. */
int terminal_make(const struct manner *manner, int in[2], int out[2], int err[2])
{
	struct winsize size = { .ws_row = manner->rows, .ws_col = manner->columns };
	int ours, theirs;
	if (openpty(&ours, &theirs, NULL, NULL, &size) < 0)
		fail("cannot make", "a terminal");
	for (int i = 0; i < 2; i++)
		close(in[i]), close(out[i]), close(err[i]);
	in[0] = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
	in[1] = fcntl(ours, F_DUPFD_CLOEXEC, 3);
	out[0] = fcntl(ours, F_DUPFD_CLOEXEC, 3);
	out[1] = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
	err[0] = -1;
	err[1] = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
	close(ours), close(theirs);
	return in[0];
}

/* In the child: lead a session on it, so that Ctrl-C and the end of the line reach what runs there. */
void terminal_take(int terminal)
{
	setsid();
	if (ioctl(terminal, TIOCSCTTY, 0) < 0)
		fail("cannot have for its terminal", "what was made");
}

/* The kernel tells those in the foreground (SIGWINCH). */
void terminal_resize(int fd, int rows, int columns)
{
	struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
	ioctl(fd, TIOCSWINSZ, &size);
}
