#include "output.h"

#include "text_output.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_TRACE (65 << 20) /* bytes of a trace that are sent; the harness keeps fewer */

static bool as_text;
static struct {
	char buffer[CHUNK];
	size_t filled, sent;
} trace;

void output_as_text(void)
{
	as_text = true;
}

void send_frame(enum frame_kind kind, const void *data, size_t length)
{
	unsigned char header[FRAME_HEADER];
	if (as_text) {
		text_output(kind, data, length);
		return;
	}
	frame_header(header, kind, length);
	write_all(STDOUT_FILENO, header, sizeof header);
	write_all(STDOUT_FILENO, data, length);
}

void send_maps(pid_t pid)
{
	size_t length = 0;
	char *maps = read_process_file(pid, "maps", &length);
	send_frame(FRAME_MAPS, maps ? maps : "", length);
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
