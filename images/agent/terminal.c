#define _GNU_SOURCE
#include "terminal.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct winsize winsize(struct terminal_size size)
{
	return (struct winsize){.ws_row = size.rows, .ws_col = size.columns};
}

int terminal_open(struct terminal_size size, int *ours, int *theirs)
{
	struct winsize window = winsize(size);
	if (openpty(ours, theirs, NULL, NULL, &window) < 0)
		return -errno;
	fcntl(*ours, F_SETFD, FD_CLOEXEC);
	fcntl(*theirs, F_SETFD, FD_CLOEXEC);
	return 0;
}

void terminal_take(int terminal)
{
	setsid();
	if (ioctl(terminal, TIOCSCTTY, 0) < 0)
		die(errno, "cannot control the terminal", NULL);
}

void terminal_resize(int terminal, struct terminal_size size)
{
	struct winsize window = winsize(size);
	ioctl(terminal, TIOCSWINSZ, &window);
}
