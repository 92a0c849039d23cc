#define _GNU_SOURCE
#include "setting_watch.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* inotify does not watch the directories below. */
static const char *const directories[] = {
	"/proc/sys/vm",
	"/proc/sys/kernel",
	"/proc/sys/kernel/keys",
	"/proc/sys/kernel/random",
	"/proc/sys/fs",
	"/proc/sys/fs/epoll",
	"/proc/sys/fs/inotify",
	"/proc/sys/fs/mqueue",
	"/proc/sys/net/core",
	"/proc/sys/net/ipv4",
	"/proc/sys/user",
	"/sys/kernel/mm/transparent_hugepage",
};

#define DIRECTORIES (sizeof directories / sizeof *directories)

/* What is written there changes nothing that stays: proc_sys_vm(5). */
static const char *const actions[] = {
	"/proc/sys/vm/compact_memory", "/proc/sys/vm/drop_caches", "/proc/sys/vm/stat_refresh"};

static struct {
	int events; /* -1: no watch */
	int numbers[DIRECTORIES];
} watch = {.events = -1};

void setting_watch_begin(void)
{
	watch.events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch.events < 0)
		return;
	for (size_t i = 0; i < DIRECTORIES; i++) {
		/* While it is open, the kernel keeps its entry. A new entry of procfs would have
		 * another inode, which is not watched. The descriptors are closed at the exit of
		 * the agent. */
		open(directories[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		watch.numbers[i] =
			inotify_add_watch(watch.events, directories[i], IN_MODIFY | IN_ONLYDIR);
	}
}

static const char *directory_of(int number)
{
	for (size_t i = 0; i < DIRECTORIES; i++)
		if (number >= 0 && watch.numbers[i] == number)
			return directories[i];
	return NULL;
}

static bool is_action(const char *path)
{
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (!strcmp(path, actions[i]))
			return true;
	return false;
}

/* Is the word, which begins with a blank, in the text already? */
static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);
	for (const char *at = text; (at = strstr(at, word)); at += length)
		if (at[length] == ' ' || !at[length])
			return true;
	return false;
}

static void append(char *text, size_t room, const char *word)
{
	size_t filled = strlen(text), length = strlen(word);
	if (!has_word(text, word) && filled + length < room)
		memcpy(text + filled, word, length + 1);
}

static void append_event(char *text, size_t room, const struct inotify_event *event)
{
	char word[PATH_MAX];
	const char *directory = directory_of(event->wd);
	if (event->mask & IN_Q_OVERFLOW)
		append(text, room, " more");
	if (!directory || !event->len)
		return;
	snprintf(word, sizeof word, " %s/%.*s", directory, NAME_MAX, event->name);
	if (!is_action(word + 1))
		append(text, room, word);
}

void setting_watch_end(char *text, size_t room)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t got;
	text[0] = 0;
	if (watch.events < 0)
		return;
	while ((got = read(watch.events, buffer, sizeof buffer)) > 0)
		for (ssize_t at = 0; at < got;) {
			const struct inotify_event *event =
				(const struct inotify_event *)(buffer + at);
			append_event(text, room, event);
			at += (ssize_t)(sizeof *event + event->len);
		}
	close(watch.events);
	watch.events = -1;
}
