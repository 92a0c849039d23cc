#define _GNU_SOURCE
#include "output.h"

#include "seal.h"
#include "text_output.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEAD (FRAME_HEADER + SEAL)
#define MOST_TRACE (65 << 20) /* bytes of a trace that are sent; the harness keeps fewer */

static bool as_text;
static const char *subject_root;
static struct sealer sealer;
static struct {
	char buffer[CHUNK];
	size_t filled, sent;
} trace;

void output_as_text(void)
{
	as_text = true;
}

static struct {
	unsigned char bytes[HEAD + CHUNK];
	size_t length;
} held;

/* Write what is held, head and payload in one call: more would become more packets of SSH. */
static void write_frame(const unsigned char head[HEAD], const void *data, size_t length)
{
	struct iovec parts[] = {
		{held.bytes, held.length}, {(void *)head, HEAD}, {(void *)data, length}};
	ssize_t sent = writev(STDOUT_FILENO, parts, 3);
	size_t done = sent > 0 ? (size_t)sent : 0;
	for (size_t i = 0; i < 3; i++) {
		size_t part = done < parts[i].iov_len ? done : parts[i].iov_len;
		write_all(STDOUT_FILENO, (char *)parts[i].iov_base + part, parts[i].iov_len - part);
		done -= part;
	}
	held.length = 0;
}

void hold_frame(enum frame_kind kind, const void *data, size_t length)
{
	if (as_text || length > CHUNK || held.length)
		return;
	frame_header(held.bytes, kind, length);
	seal_frame(&sealer, held.bytes, data, length, held.bytes + FRAME_HEADER);
	memcpy(held.bytes + HEAD, data, length);
	held.length = HEAD + length;
}

void send_frame(enum frame_kind kind, const void *data, size_t length)
{
	unsigned char head[HEAD];
	if (as_text) {
		text_output(kind, data, length);
		return;
	}
	frame_header(head, kind, length);
	seal_frame(&sealer, head, data, length, head + FRAME_HEADER);
	write_frame(head, data, length);
}

int output_read_key(int fd)
{
	return sealer_read_key(&sealer, fd);
}

void output_set_root(const char *root)
{
	subject_root = root;
}

/* Take the root of the subject off all paths. Returns the new length. The path of a line begins at
 * its first slash: proc_pid_maps(5). */
static size_t strip_root(char *maps, size_t length)
{
	size_t root = strlen(subject_root), kept = 0;
	for (char *line = maps, *end; line < maps + length; line = end) {
		end = memchr(line, '\n', (size_t)(maps + length - line));
		end = end ? end + 1 : maps + length;
		char *path = memchr(line, '/', (size_t)(end - line));
		bool below = path && (size_t)(end - path) > root &&
			     !memcmp(path, subject_root, root) && path[root] == '/';
		size_t head = (size_t)((path ? path : end) - line);
		memmove(maps + kept, line, head);
		kept += head;
		char *rest = line + head + (below ? root : 0);
		memmove(maps + kept, rest, (size_t)(end - rest));
		kept += (size_t)(end - rest);
	}
	return kept;
}

/* Read the maps of a process, up to the last whole line within MOST_MAPS. */
static char *read_maps(pid_t pid, size_t *length, bool *cut)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	char *maps = read_beginning(path, MOST_MAPS, length, cut);
	char *end = maps && *cut ? memrchr(maps, '\n', *length) : NULL;
	if (end)
		*length = (size_t)(end + 1 - maps);
	return maps;
}

void send_maps(enum frame_kind kind, pid_t pid)
{
	size_t length = 0;
	bool cut = false;
	char *maps = read_maps(pid, &length, &cut);
	if (cut)
		send_frame(FRAME_CUT, "maps", 4);
	if (maps && subject_root)
		length = strip_root(maps, length);
	send_frame(kind, maps ? maps : "", length);
	free(maps);
}

void send_trace(const char *text, size_t length)
{
	while (length > 0 && trace.sent < MOST_TRACE) {
		size_t room = sizeof trace.buffer - trace.filled;
		size_t part = length < room ? length : room;
		memcpy(trace.buffer + trace.filled, text, part);
		trace.filled += part;
		text += part;
		length -= part;
		if (trace.filled == sizeof trace.buffer)
			flush_trace();
	}
}

void flush_trace(void)
{
	if (!trace.filled)
		return;
	send_frame(FRAME_TRACE, trace.buffer, trace.filled);
	trace.sent += trace.filled;
	trace.filled = 0;
}
