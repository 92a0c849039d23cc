#define _GNU_SOURCE
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_READ 16384 /* bytes; most files of /proc are smaller */

static const char *program_name = "agent";

void die_as(const char *program)
{
	program_name = program;
}

noreturn void die(int error, const char *action, const char *object)
{
	fprintf(stderr, "%s: %s%s%s: %s\n", program_name, action, object ? " " : "",
		object ? object : "", strerror(error));
	exit(EXIT_AGENT);
}

static void *checked(void *memory)
{
	if (!memory)
		die(ENOMEM, "cannot allocate memory", NULL);
	return memory;
}

void *xmalloc(size_t size)
{
	return checked(malloc(size ? size : 1));
}

void *xcalloc(size_t count, size_t size)
{
	return checked(calloc(count ? count : 1, size ? size : 1));
}

char *xstrndup(const char *text, size_t length)
{
	return checked(strndup(text, length));
}

void *xreallocarray(void *array, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes))
		return checked(NULL);
	return checked(realloc(array, bytes ? bytes : 1));
}

void *grow(void *array, size_t count, size_t size)
{
	bool full = (count & (count - 1)) == 0; /* the room is a power of two, or nothing */
	return full ? xreallocarray(array, count ? 2 * count : 1, size) : array;
}

int write_all(int fd, const void *data, size_t length)
{
	for (const char *at = data; length > 0;) {
		ssize_t written = write(fd, at, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		at += written;
		length -= (size_t)written;
	}
	return 0;
}

int read_all(int fd, void *data, size_t length)
{
	for (char *at = data; length > 0;) {
		ssize_t got = read(fd, at, length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -ENODATA;
		at += got;
		length -= (size_t)got;
	}
	return 0;
}

char *read_beginning(const char *path, size_t most, size_t *length, bool *cut)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	size_t size = 0, room = FIRST_READ < most ? FIRST_READ : most;
	char *text = xmalloc(room + 1);
	*cut = false;
	for (;;) {
		if (size == most) {
			char next;
			*cut = read(fd, &next, 1) > 0;
			break;
		}
		if (size == room) {
			room = room < most / 2 ? 2 * room : most;
			text = xreallocarray(text, room + 1, 1);
		}
		ssize_t got = read(fd, text + size, room - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size += (size_t)got;
	}
	close(fd);
	text[size] = 0;
	if (length)
		*length = size;
	return text;
}

char *read_file(const char *path, size_t *length)
{
	bool cut;
	return read_beginning(path, SIZE_MAX - 1, length, &cut);
}

char *read_process_file(pid_t pid, const char *name, size_t *length)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	return read_file(path, length);
}

uint64_t number_after(const char *text, const char *key)
{
	const char *at = text ? strstr(text, key) : NULL;
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t written = write(fd, text, strlen(text));
	int error = written < 0 ? -errno : written < (ssize_t)strlen(text) ? -EIO : 0;
	close(fd);
	return error;
}

int parse_number(const char *text, uint64_t *value)
{
	char *end;
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	unsigned long long parsed = strtoull(text, &end, 0);
	if (errno || *end)
		return errno ? -errno : -EINVAL;
	*value = parsed;
	return 0;
}
