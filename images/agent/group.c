/* The memory cgroup: what holds for us, and one of its own for a subject.
 *
 * Version 2 is mounted on /sys/fs/cgroup where init or the host has put it; version 1 has a
 * hierarchy of its own for memory. Where neither has the controller there is nothing to be had. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIFIED "/sys/fs/cgroup"
#define OLD "/sys/fs/cgroup/memory"
#define NO_LIMIT (1LL << 60) /* version 1 writes "none" as the largest number of pages */

/* PID 1 alone does this: nobody else has mounted anything. Silent, as a kernel may know neither. */
void group_mount(void)
{
	if (mount("cgroup2", UNIFIED, "cgroup2", 0, NULL) == 0) {
		char *controllers = slurp(UNIFIED "/cgroup.controllers", NULL);
		int there = controllers && strstr(controllers, "memory");
		free(controllers);
		if (there) {
			put_text(UNIFIED "/cgroup.subtree_control", "+memory");
			return;
		}
		umount(UNIFIED);
	}
	if (mount("tmpfs", UNIFIED, "tmpfs", 0, "mode=755") < 0)
		return;
	mkdir(OLD, 0755);
	if (mount("cgroup", OLD, "cgroup", 0, "memory") < 0)
		umount(UNIFIED);
}

/* The directory of our own group below a hierarchy, as /proc/self/cgroup names it after KEY. */
static int own_directory(const char *root, const char *key, char *path, size_t room)
{
	char *groups = slurp("/proc/self/cgroup", NULL);
	char *at = groups ? strstr(groups, key) : NULL;
	if (at) {
		at += strlen(key);
		snprintf(path, room, "%s%.*s", root, (int)strcspn(at, "\n"), at);
		/* in a namespace that has the hierarchy's root elsewhere the name does not help */
		if (access(path, F_OK) < 0)
			snprintf(path, room, "%s", root);
	}
	free(groups);
	return at != NULL;
}

static long long limit_in(const char *directory, const char *file)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	char *text = slurp(path, NULL);
	long long limit = text && *text >= '0' && *text <= '9' ? atoll(text) : -1;
	free(text);
	return limit >= NO_LIMIT ? -1 : limit;
}

struct memory_group group_now(void)
{
	struct memory_group group = { 0, -1 };
	char own[PATH_MAX / 2];
	char *controllers = slurp(UNIFIED "/cgroup.controllers", NULL);
	if (controllers && strstr(controllers, "memory")) {
		group.version = 2;
		if (own_directory(UNIFIED, "0::", own, sizeof own))
			group.limit = limit_in(own, "memory.max");
	} else if (access(OLD "/memory.limit_in_bytes", F_OK) == 0) {
		group.version = 1;
		if (own_directory(OLD, ":memory:", own, sizeof own))
			group.limit = limit_in(own, "memory.limit_in_bytes");
	}
	free(controllers);
	return group;
}

/* Make a group of its own with this limit for a subject; `path` is its directory. Swap counts
 * nowhere: no guest of ours has any. */
void group_make(unsigned long long bytes, char *path, size_t room)
{
	int version = group_now().version;
	char file[PATH_MAX], text[32];
	if (!version) {
		errno = ENOENT;
		fail("there is no memory cgroup", NULL);
	}
	snprintf(path, room, "%s/foothold-%d", version == 2 ? UNIFIED : OLD, (int)getpid());
	if (mkdir(path, 0755) < 0)
		fail("cannot make the cgroup", path);
	snprintf(file, sizeof file, "%s/%s", path, version == 2 ? "memory.max" : "memory.limit_in_bytes");
	snprintf(text, sizeof text, "%llu", bytes);
	if (!put_text(file, text))
		fail("cannot limit the cgroup", file);
}

/* Its last member may be gone a moment before the kernel says so. */
void group_remove(const char *path)
{
	for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < 500; tries++)
		poll(NULL, 0, 1);
}

/* In the child: become a member, and so will all its children be. */
void group_join(const char *path)
{
	char file[PATH_MAX], text[32];
	snprintf(file, sizeof file, "%s/cgroup.procs", path);
	snprintf(text, sizeof text, "%d", (int)getpid());
	if (!put_text(file, text))
		fail("cannot join the cgroup", path);
}
