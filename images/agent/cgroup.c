/* Version 2 is mounted on /sys/fs/cgroup, by init or by the host. Version 1 has a hierarchy of its
 * own for the memory controller. */
#define _GNU_SOURCE
#include "cgroup.h"

#include "util.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIFIED "/sys/fs/cgroup"
#define VERSION_1 "/sys/fs/cgroup/memory"
#define NO_LIMIT (1LL << 60) /* version 1 writes the largest number of pages for "no limit" */
#define MOST_REMOVALS 500    /* attempts, a millisecond apart */

static bool unified_has_memory(void)
{
	char *controllers = read_file(UNIFIED "/cgroup.controllers", NULL);
	bool found = controllers && strstr(controllers, "memory");
	free(controllers);
	return found;
}

void cgroup_mount(void)
{
	if (mount("cgroup2", UNIFIED, "cgroup2", 0, NULL) == 0) {
		if (unified_has_memory()) {
			write_file(UNIFIED "/cgroup.subtree_control", "+memory");
			return;
		}
		umount(UNIFIED);
	}
	if (mount("tmpfs", UNIFIED, "tmpfs", 0, "mode=755") < 0)
		return;
	mkdir(VERSION_1, 0755);
	if (mount("cgroup", VERSION_1, "cgroup", 0, "memory") < 0)
		umount(UNIFIED);
}

/* Find the directory of our own cgroup below ROOT. KEY precedes its name in /proc/self/cgroup. */
static bool own_directory(const char *root, const char *key, char *path, size_t room)
{
	char *cgroups = read_file("/proc/self/cgroup", NULL);
	char *at = cgroups ? strstr(cgroups, key) : NULL;
	if (at) {
		at += strlen(key);
		snprintf(path, room, "%s%.*s", root, (int)strcspn(at, "\n"), at);
		/* in a cgroup namespace the name may not exist below the mounted root */
		if (access(path, F_OK) < 0)
			snprintf(path, room, "%s", root);
	}
	free(cgroups);
	return at != NULL;
}

static long long read_limit(const char *directory, const char *file)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	char *text = read_file(path, NULL);
	long long limit = text && *text >= '0' && *text <= '9' ? atoll(text) : -1;
	free(text);
	return limit >= NO_LIMIT ? -1 : limit;
}

struct memory_cgroup cgroup_own(void)
{
	struct memory_cgroup cgroup = {0, -1};
	char own[PATH_MAX / 2];
	if (unified_has_memory()) {
		cgroup.version = 2;
		if (own_directory(UNIFIED, "0::", own, sizeof own))
			cgroup.limit = read_limit(own, "memory.max");
	} else if (access(VERSION_1 "/memory.limit_in_bytes", F_OK) == 0) {
		cgroup.version = 1;
		if (own_directory(VERSION_1, ":memory:", own, sizeof own))
			cgroup.limit = read_limit(own, "memory.limit_in_bytes");
	}
	return cgroup;
}

static const char *mount_point(int version)
{
	return version == 2 ? UNIFIED : VERSION_1;
}

/* Make a cgroup with this limit. */
static int create(const char *path, int version, uint64_t limit)
{
	char file[PATH_MAX], text[32];
	if (mkdir(path, 0755) < 0)
		return -errno;
	/* swap is not limited: the guests have none */
	snprintf(file, sizeof file, "%s/%s", path,
		version == 2 ? "memory.max" : "memory.limit_in_bytes");
	snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
	int error = write_file(file, text);
	if (error)
		rmdir(path);
	return error;
}

/* Let a cgroup of version 2 pass its controller on. Version 1 always does. */
static int pass_on(const char *path, int version)
{
	char file[PATH_MAX];
	snprintf(file, sizeof file, "%s/cgroup.subtree_control", path);
	return version == 2 ? write_file(file, "+memory") : 0;
}

int cgroup_create(uint64_t limit, char **directory)
{
	int version = cgroup_own().version;
	char outer[64], inner[128];
	if (!version)
		return -ENOENT;
	snprintf(outer, sizeof outer, "%s/foothold-%d", mount_point(version), (int)getpid());
	snprintf(inner, sizeof inner, "%s/subject", outer);
	int error = create(outer, version, limit);
	if (error)
		return error;
	error = pass_on(outer, version);
	if (!error)
		error = create(inner, version, limit);
	if (error)
		rmdir(outer);
	else
		*directory = xstrndup(inner, sizeof inner);
	return error;
}

int cgroup_hide(void)
{
	int version = cgroup_own().version;
	if (unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		umount2(mount_point(version), MNT_DETACH) < 0)
		return -errno;
	return version;
}

int cgroup_show(int version)
{
	const char *place = mount_point(version);
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	umount2(place, MNT_DETACH); /* the root of the subject may show that of the guest */
	if (mount("cgroup", place, version == 2 ? "cgroup2" : "cgroup", flags,
		    version == 2 ? NULL : "memory") < 0)
		return -errno;
	return 0;
}

int cgroup_join(const char *directory)
{
	char file[PATH_MAX], text[32];
	snprintf(file, sizeof file, "%s/cgroup.procs", directory);
	snprintf(text, sizeof text, "%d", (int)getpid());
	return write_file(file, text);
}

static void remove_empty(const char *directory)
{
	for (int i = 0; rmdir(directory) < 0 && errno == EBUSY && i < MOST_REMOVALS; i++)
		poll(NULL, 0, 1);
}

void cgroup_remove(const char *directory)
{
	char outer[PATH_MAX];
	const char *end = strrchr(directory, '/');
	remove_empty(directory);
	snprintf(outer, sizeof outer, "%.*s", (int)(end - directory), directory);
	remove_empty(outer);
}
