#define _GNU_SOURCE
#include "loader.h"

#include "util.h"

#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of /proc/PID/maps. */
struct line {
	struct range range;
	const char *path; /* in the text; empty: no file */
};

/* A 32-bit program has words of its own size. */
static uint64_t auxiliary(pid_t pid, uint64_t type, bool compat)
{
	size_t length, size = compat ? sizeof(uint32_t) : sizeof(long);
	uint64_t value = 0;
	char *text = read_process_file(pid, "auxv", &length);
	for (size_t i = 0; text && i + 2 * size <= length; i += 2 * size) {
		unsigned long word[2];
		uint32_t half[2];
		memcpy(compat ? (void *)half : (void *)word, text + i, 2 * size);
		if ((compat ? half[0] : word[0]) == type)
			value = compat ? half[1] : word[1];
	}
	free(text);
	return value;
}

/* Parse a line, which ends in NUL. Returns false if it is none. */
static bool parse_line(const char *text, struct line *line)
{
	unsigned long long start, end;
	int path = 0;
	if (sscanf(text, "%llx-%llx %*s %*s %*s %*s %n", &start, &end, &path) != 2 || !path)
		return false;
	*line = (struct line){{start, end}, text + path};
	return true;
}

/* The mappings of a file. */
struct file {
	struct range range;
	char name[64]; /* without its directory; empty: not found */
};

static struct file file_at(pid_t pid, uint64_t address)
{
	struct file found = {{0, 0}, ""};
	char *text = read_process_file(pid, "maps", NULL), *rest = NULL;
	const char *path = "";
	for (char *next = text ? strtok_r(text, "\n", &rest) : NULL; next;
		next = strtok_r(NULL, "\n", &rest)) {
		struct line line;
		if (!parse_line(next, &line))
			continue;
		if (address >= line.range.start && address < line.range.end) {
			found.range = line.range;
			path = line.path;
		} else if (*path && !strcmp(line.path, path)) {
			found.range.end = line.range.end;
		}
	}
	const char *slash = strrchr(path, '/');
	snprintf(found.name, sizeof found.name, "%.63s", slash ? slash + 1 : path);
	free(text);
	return found;
}

static bool begins_with(const char *text, const char *beginning)
{
	return !strncmp(text, beginning, strlen(beginning));
}

struct range loader_range(pid_t pid, bool compat)
{
	uint64_t base = auxiliary(pid, AT_BASE, compat);
	struct file file = file_at(pid, base ? base : auxiliary(pid, AT_ENTRY, compat));
	/* without an interpreter, the program may be the loader, to which the program is an
	 * argument */
	bool is_loader = base || begins_with(file.name, "ld-linux") ||
			 begins_with(file.name, "ld64.so") || begins_with(file.name, "ld.so");
	if (!is_loader || begins_with(file.name, "ld-musl-"))
		return (struct range){0, 0};
	return file.range;
}
