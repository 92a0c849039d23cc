/* The door: which of the agent's roles is played, and the few helpers that all of them share. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Say on stderr what could not be done, and end with EXIT_AGENT. */
void fail(const char *what, const char *subject)
{
	fprintf(stderr, "agent: %s %s: %s\n", what, subject ? subject : "", strerror(errno));
	exit(EXIT_AGENT);
}

void write_all(int fd, const void *data, size_t length)
{
	const char *at = data;
	while (length > 0) {
		ssize_t written = write(fd, at, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return; /* the reader has gone: end of file on our stdin says so as well */
		at += written;
		length -= (size_t)written;
	}
}

/* The whole of a file (of /proc: its size is not known before), NUL-terminated; NULL if unreadable. */
char *slurp(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	size_t size = 0, room = 16384;
	char *text = malloc(room + 1);
	for (;;) {
		ssize_t got = read(fd, text + size, room - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size += (size_t)got;
		if (size == room)
			text = realloc(text, (room *= 2) + 1);
	}
	close(fd);
	text[size] = 0;
	if (length)
		*length = size;
	return text;
}

/* Write all of a short text into a file that is there (of /proc, /sys); 1 when it was taken. */
int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

unsigned long long number(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 0);
	if (errno || *end || end == text) {
		errno = errno ? errno : EINVAL;
		fail("not a number:", text);
	}
	return value;
}

/* The program behind the options, which end at argv[AT]. */
char **after_dashes(int argc, char **argv, int at)
{
	if (at + 1 < argc && !strcmp(argv[at], "--"))
		return argv + at + 1;
	errno = EINVAL;
	fail("expected an option or -- PROGRAM, got", at < argc ? argv[at] : "nothing");
}

int main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";
	if (!strcmp(role, "run"))
		return run_main(argc, argv);
	if (!strcmp(role, "exec") && argc > 4)
		return exec_main(argc, argv);
	if (!strcmp(role, "keep"))
		return keep_main(argc, argv);
	if (!strcmp(role, "facts"))
		return facts_main(argc, argv);
	if (!strcmp(role, "where"))
		return where_main();
	if (!strcmp(role, "idle"))
		return idle_main();
	if (!strcmp(role, "init") || getpid() == 1)
		return init_main();
	fprintf(stderr, "usage: agent init | idle | facts | run [LIMITS] -- ARGV | keep [LIMITS] -- ARGV\n");
	return EXIT_AGENT;
}
