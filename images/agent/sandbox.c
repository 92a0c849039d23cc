#define _GNU_SOURCE
#include "sandbox.h"

#include "mount_point.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOT "/tmp" /* where the new root is mounted until it is the root */

/* linux/mount.h, Linux 5.12; older headers lack them. The number is the same everywhere. */
#define MOUNT_SETATTR 442
#define ATTRIBUTE_READ_ONLY 1
#define RECURSIVE 0x8000

int sandbox_option(struct sandbox *sandbox, int argc, char **argv, int at)
{
	static const char *names[] = {"--ro", "--rw", "--tmpfs", "--tree"};
	for (int access = READ_ONLY; access <= TREE; access++) {
		int values = access == TREE ? 2 : 1;
		if (at + values >= argc || strcmp(argv[at], names[access]) != 0)
			continue;
		sandbox->path = grow(sandbox->path, sandbox->paths, sizeof *sandbox->path);
		sandbox->path[sandbox->paths++] = (struct sandbox_path){
			argv[at + 1], argv[at + values], (enum sandbox_access)access};
		return 1 + values;
	}
	return 0;
}

/* Make everything that is mounted at PATH or below it read-only. Needs Linux 5.12. */
static int make_tree_read_only(const char *path)
{
	struct {
		uint64_t set, clear, propagation, userns;
	} change = {ATTRIBUTE_READ_ONLY, 0, 0, 0};
	long done = syscall(MOUNT_SETATTR, AT_FDCWD, path, RECURSIVE, &change, sizeof change);
	return done < 0 ? -errno : 0;
}

static int make_read_only(const char *path)
{
	unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY;
	/* the kernel refuses unless the flags that the source has locked are repeated */
	if (mount(NULL, path, NULL, flags, NULL) == 0 ||
		mount(NULL, path, NULL, flags | MS_NOSUID | MS_NODEV, NULL) == 0 ||
		mount(NULL, path, NULL, flags | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
		return 0;
	return -errno;
}

/* Map the user and group of this process to themselves. */
static int map_identity(const char *file, unsigned id)
{
	char text[64];
	snprintf(text, sizeof text, "%u %u 1", id, id);
	return write_file(file, text);
}

/* Bind one path into the new root. SOURCE is the open source. */
static int bind_path(const struct sandbox_path *path, int source)
{
	char from[64], to[PATH_MAX];
	struct stat status = {.st_mode = S_IFDIR};
	if (path->access != EMPTY && fstat(source, &status) < 0)
		return -errno;
	make_mount_point(ROOT, path->path, S_ISDIR(status.st_mode));
	snprintf(to, sizeof to, "%s%s", ROOT, path->path);
	if (path->access == EMPTY)
		return mount("tmpfs", to, "tmpfs", MS_NOSUID, "mode=1777") < 0 ? -errno : 0;
	snprintf(from, sizeof from, "/proc/self/fd/%d", source);
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	if (path->access == TREE)
		return make_tree_read_only(to);
	return path->access == READ_ONLY ? make_read_only(to) : 0;
}

/* Open all sources: in the new namespace, or they could not be bound, and before the new root hides
 * them. */
static int open_sources(const struct sandbox *sandbox, int *sources, const char **step)
{
	for (size_t i = 0; i < sandbox->paths; i++) {
		const struct sandbox_path *path = &sandbox->path[i];
		sources[i] = -1;
		if (path->access == EMPTY)
			continue;
		*step = path->source;
		sources[i] = open(path->source, O_PATH | O_CLOEXEC);
		if (sources[i] < 0)
			return -errno;
	}
	return 0;
}

static int new_namespaces(const char **step)
{
	unsigned uid = getuid(), gid = getgid();
	int error;
	*step = "new namespaces";
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		return -errno;
	*step = "user map";
	write_file("/proc/self/setgroups", "deny"); /* required before a group is mapped */
	if ((error = map_identity("/proc/self/uid_map", uid)) < 0)
		return error;
	*step = "group map";
	if ((error = map_identity("/proc/self/gid_map", gid)) < 0)
		return error;
	*step = "private mounts";
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

static int fill_root(const struct sandbox *sandbox, const int *sources, const char **step)
{
	*step = "a new root";
	if (mount("tmpfs", ROOT, "tmpfs", MS_NOSUID, "mode=755") < 0)
		return -errno;
	for (size_t i = 0; i < sandbox->paths; i++) {
		*step = sandbox->path[i].path;
		int error = bind_path(&sandbox->path[i], sources[i]);
		if (error)
			return error;
	}
	*step = "pivot_root";
	if (chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
		umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

int sandbox_enter(const struct sandbox *sandbox, const char **step)
{
	int *sources = xcalloc(sandbox->paths, sizeof *sources);
	int error = new_namespaces(step);
	if (!error)
		error = open_sources(sandbox, sources, step);
	if (!error)
		error = fill_root(sandbox, sources, step);
	/* the sources stay open until exec */
	return error;
}
