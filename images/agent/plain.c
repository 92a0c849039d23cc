/* `agent run --plain`: the same supervision, told in text. There is no harness at the other end, so
 * we do what it does: at each hold of the subject its maps are shown, and it is let go on.
 *
 * The subject's outputs go to ours as they are. What we say stands between: `=== maps at MOMENT`,
 * `=== trace`, and last `=== ended {"status":…}`. */
#include "agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int on;
static char moment[33]; /* at which the subject holds; empty: it does not */
static char *trace;     /* what its tracer has written so far */
static size_t traced;

static void say(const char *title, const char *text, size_t length)
{
	dprintf(1, "=== %s\n", title);
	write_all(1, text, length);
	if (length && text[length - 1] != '\n')
		write_all(1, "\n", 1);
}

/* Does a line of the subject's output say that it holds? Lines may arrive in pieces. */
static void watch(const char *data, size_t length)
{
	static char line[128];
	static size_t have;
	for (size_t i = 0; i < length; i++) {
		if (data[i] != '\n') {
			if (have < sizeof line - 1)
				line[have++] = data[i];
			continue;
		}
		line[have] = 0;
		have = 0;
		char name[33];
		if (sscanf(line, "{\"event\": \"hold\", \"at\": \"%32[a-zA-Z0-9_]\"}", name) == 1)
			strcpy(moment, name);
	}
}

void plain_start(void)
{
	on = 1;
}

/* Show what would be a frame; 0 if frames are wanted. */
int plain_show(char kind, const void *data, size_t length)
{
	char title[64];
	if (!on)
		return 0;
	if (kind == 'o') {
		write_all(1, data, length);
		watch(data, length);
	} else if (kind == 'e') {
		write_all(2, data, length);
	} else if (kind == 'm') {
		snprintf(title, sizeof title, "maps at %s", moment);
		*moment = 0;
		say(title, data, length);
	} else if (kind == 'l') {
		say("maps at end", data, length);
	} else if (kind == 't') {
		trace = realloc(trace, traced + length);
		memcpy(trace + traced, data, length);
		traced += length;
	} else if (kind == 'x' || kind == 'f') {
		if (trace)
			say("trace", trace, traced);
		dprintf(1, "=== %s %.*s\n", kind == 'x' ? "ended" : "not started:", (int)length, (const char *)data);
	}
	return 1;
}

int plain_held(void)
{
	return *moment != 0;
}

/* Our patience is at its end: the maps that follow are those of a program that runs. */
void plain_running(void)
{
	strcpy(moment, "running");
}
