/* Frames to the harness: one letter, a length (4 bytes, little endian), that many bytes. What the
 * letters are is said in supervise.c. */
#define _GNU_SOURCE
#include "agent.h"

#include <string.h>

#define MOST_TRACE (5 << 20) /* bytes of a trace that are passed on; the harness keeps fewer */

void send_frame(char kind, const void *data, size_t length)
{
	if (plain_show(kind, data, length))
		return;
	unsigned char head[5] = { (unsigned char)kind, (unsigned char)length, (unsigned char)(length >> 8),
	                          (unsigned char)(length >> 16), (unsigned char)(length >> 24) };
	write_all(1, head, sizeof head);
	write_all(1, data, length);
}

/* What a tracer writes comes in half lines: whole frames cost a guest's line far less. */
static struct {
	char buffer[CHUNK];
	size_t have, passed;
} trace_log;

void flush_trace(void)
{
	if (!trace_log.have)
		return;
	send_frame('t', trace_log.buffer, trace_log.have);
	trace_log.passed += trace_log.have;
	trace_log.have = 0;
}

/* Beyond MOST_TRACE it is dropped. */
void pass_trace(const char *text, size_t length)
{
	while (length > 0 && trace_log.passed < MOST_TRACE) {
		size_t room = sizeof trace_log.buffer - trace_log.have, part = length < room ? length : room;
		memcpy(trace_log.buffer + trace_log.have, text, part);
		trace_log.have += part, text += part, length -= part;
		if (trace_log.have == sizeof trace_log.buffer)
			flush_trace();
	}
}
