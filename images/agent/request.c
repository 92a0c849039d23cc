#define _GNU_SOURCE
#include "request.h"

#include "arguments.h"
#include "frames.h"
#include "guest_keeper.h"
#include "remove_tree.h"
#include "session.h"
#include "util.h"
#include "work_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The first two words are its working directory and the files for it; each may be empty. */
static void read_request(struct arguments *request)
{
	int error = arguments_read(request, STDIN_FILENO, FRAME_REQUEST);
	if (error == -ENODATA)
		exit(EXIT_AGENT); /* the harness did not need it */
	if (error)
		die(-error, "cannot read", "the request");
	if (request->count < 3)
		die(EPROTO, "cannot find the command of", "the request");
}

/* Returns a descriptor that is readable when the session is gone. The lock on it says that this
 * process is not. Exits if the session was killed before: poll(2) reports only a writer that goes
 * after the FIFO was opened, so the end of file is read here. */
static int join_session(void)
{
	char none;
	int fifo = open(SESSION_FIFO, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fifo < 0 || flock(fifo, LOCK_SH) < 0)
		die(errno, "cannot join", "the session");
	if (read(fifo, &none, 1) == 0)
		exit(EXIT_AGENT);
	return fifo;
}

/* Until the request comes. Exits if the session ends before. */
static void wait_for_request(int fifo)
{
	struct pollfd slots[] = {{STDIN_FILENO, POLLIN, 0}, {fifo, POLLIN, 0}};
	while (poll(slots, 2, -1) < 0)
		;
	if (slots[1].revents)
		exit(EXIT_AGENT);
}

/* Run the words behind the first two under a keeper. */
static int keep(const struct arguments *request, char *program, int owner)
{
	char number[16];
	char *head[] = {program, "keep", "--owner", number, "--", program};
	size_t fixed = sizeof head / sizeof *head, words = (size_t)request->count - 2;
	char **argv = xcalloc(fixed + words + 1, sizeof *argv);
	snprintf(number, sizeof number, "%d", owner);
	memcpy(argv, head, sizeof head);
	memcpy(argv + fixed, request->words + 2, words * sizeof *argv);
	int status = keep_main((int)(fixed + words), argv, NULL);
	free(argv);
	return status;
}

int request_main(int argc, char **argv)
{
	struct arguments request;
	if (argc != 3)
		die(EINVAL, "usage: agent request TOKEN", NULL);
	int directory = session_enter(argv[0]);
	session_announce(argv[2]);
	int fifo = join_session();
	wait_for_request(fifo);
	read_request(&request);
	const char *work = request.words[0], *files = request.words[1];
	int error =
		*work ? work_directory_make(work, *files ? files : NULL, getuid(), getgid()) : 0;
	if (error)
		die(-error, "cannot make the working directory", work);
	int status = keep(&request, argv[0], fifo);
	if (*work)
		remove_tree(directory, work);
	arguments_free(&request);
	return status;
}
