#include "text_output.h"

#include "util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOST_NAME 32 /* characters of the name of a checkpoint */

static char checkpoint[MOST_NAME + 1]; /* empty: none */
static struct {
	char *text;
	size_t length;
} trace; /* what the tracer has written so far: it is shown at the end */

static void write_section(const char *title, const char *text, size_t length)
{
	dprintf(STDOUT_FILENO, "=== %s\n", title);
	write_all(STDOUT_FILENO, text, length);
	if (length && text[length - 1] != '\n')
		write_all(STDOUT_FILENO, "\n", 1);
}

/* Look for a checkpoint in the output of the subject. Its lines may arrive in pieces. */
static void find_checkpoint(const char *data, size_t length)
{
	static char line[128];
	static size_t filled;
	for (size_t i = 0; i < length; i++) {
		if (data[i] != '\n') {
			if (filled < sizeof line - 1)
				line[filled++] = data[i];
			continue;
		}
		line[filled] = 0;
		filled = 0;
		char name[MOST_NAME + 1];
		/* the report of the allocator names the event "hold" */
		if (sscanf(line, "{\"event\": \"hold\", \"at\": \"%32[a-zA-Z0-9_]\"}", name) == 1)
			text_output_set_checkpoint(name);
	}
}

static void append_trace(const char *data, size_t length)
{
	if (!length)
		return;
	trace.text = xreallocarray(trace.text, trace.length + length, 1);
	memcpy(trace.text + trace.length, data, length);
	trace.length += length;
}

static void write_end(const char *title, const char *data, size_t length)
{
	if (trace.length)
		write_section("trace", trace.text, trace.length);
	dprintf(STDOUT_FILENO, "=== %s %.*s\n", title, (int)length, data);
}

void text_output(enum frame_kind kind, const void *data, size_t length)
{
	char title[16 + MOST_NAME];
	switch (kind) {
	case FRAME_STDOUT:
		write_all(STDOUT_FILENO, data, length);
		find_checkpoint(data, length);
		break;
	case FRAME_STDERR:
		write_all(STDERR_FILENO, data, length);
		break;
	case FRAME_MAPS:
		snprintf(title, sizeof title, "maps at %s", checkpoint);
		*checkpoint = 0;
		write_section(title, data, length);
		break;
	case FRAME_EXIT_MAPS:
		write_section("maps at end", data, length);
		break;
	case FRAME_TRACE:
		append_trace(data, length);
		break;
	case FRAME_ENDED:
		write_end("ended", data, length);
		break;
	case FRAME_FAILED:
	case FRAME_REFUSED:
	case FRAME_UNKNOWN_USER:
		write_end("not started:", data, length);
		break;
	default: /* a person does not need it */
		break;
	}
}

bool text_output_at_checkpoint(void)
{
	return *checkpoint != 0;
}

void text_output_set_checkpoint(const char *name)
{
	snprintf(checkpoint, sizeof checkpoint, "%s", name);
}
