#define _GNU_SOURCE
#include "sandbox.h"

#include "mount_point.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT "/tmp" /* where the new root is mounted until it is the root */

#define EMPTY_FILE ROOT "/empty" /* what masks a file */
#define MOST_FILES "1024"        /* of a tmpfs: each costs the host a kilobyte beside its size */

/* linux/mount.h, Linux 5.12; older headers lack them. The number is the same everywhere. */
#define MOUNT_SETATTR 442
#define ATTRIBUTE_READ_ONLY 1
#define ATTRIBUTE_NO_SUID 2
#define ATTRIBUTE_NO_DEVICES 4
#define RECURSIVE 0x8000

static const struct {
	const char *name;
	enum sandbox_access access;
	int values;
} options[] = {
	{"--ro", READ_ONLY, 1},
	{"--tree", TREE, 2},
	{"--tmpfs", EMPTY, 2},
	{"--mask", MASK, 1},
	{"--link", LINK, 2},
};

int sandbox_option(struct sandbox *sandbox, int argc, char **argv, int at)
{
	for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
		int values = options[i].values;
		if (at + values >= argc || strcmp(argv[at], options[i].name) != 0)
			continue;
		struct sandbox_path path = {.path = argv[at + 1], .access = options[i].access};
		if (path.access == EMPTY && parse_number(argv[at + 2], &path.size) < 0)
			return -EINVAL;
		if (path.access != EMPTY && path.access != MASK) {
			path.source = argv[at + 1];
			path.path = argv[at + values];
		}
		sandbox->path = grow(sandbox->path, sandbox->paths, sizeof *sandbox->path);
		sandbox->path[sandbox->paths++] = path;
		return 1 + values;
	}
	return 0;
}

/* Replace the escapes of a path in /proc/self/mountinfo: \040 is a blank. See proc(5). */
static void unescape(char *path)
{
	char *to = path;
	unsigned code;
	for (const char *from = path; *from;) {
		if (*from == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
			*to++ = (char)code;
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = 0;
}

/* Remount one mount. The kernel refuses to clear a flag that the source has, so they are repeated.
 */
static int remount_read_only(const char *path, const char *flags)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} kept[] = {{"noexec", MS_NOEXEC}, {"noatime", MS_NOATIME}, {"nodiratime", MS_NODIRATIME},
		{"relatime", MS_RELATIME}};
	unsigned long all = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (strstr(flags, kept[i].name))
			all |= kept[i].flag;
	return mount(NULL, path, NULL, all, NULL) < 0 ? -errno : 0;
}

/* Before Linux 5.12: remount everything at PATH and below it, one after the other. */
static int remount_tree_read_only(const char *path)
{
	char place[PATH_MAX], flags[256], *rest = NULL;
	char *mounts = read_file("/proc/self/mountinfo", NULL);
	size_t length = strlen(path);
	int error = mounts ? 0 : -errno;
	char *line = mounts ? strtok_r(mounts, "\n", &rest) : NULL;
	for (; line && !error; line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s %255s", place, flags) != 2)
			continue;
		unescape(place);
		if (!strncmp(place, path, length) && (!place[length] || place[length] == '/'))
			error = remount_read_only(place, flags);
	}
	free(mounts);
	return error;
}

/* Make everything that is mounted at PATH or below it read-only, without devices and setuid. */
static int make_tree_read_only(const char *path)
{
	struct {
		uint64_t set, clear, propagation, userns;
	} change = {ATTRIBUTE_READ_ONLY | ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEVICES, 0, 0, 0};
	if (syscall(MOUNT_SETATTR, AT_FDCWD, path, RECURSIVE, &change, sizeof change) == 0)
		return 0;
	return errno == ENOSYS ? remount_tree_read_only(path) : -errno;
}

/* Map the user and group of this process to themselves. */
static int map_identity(const char *file, unsigned id)
{
	char text[64];
	snprintf(text, sizeof text, "%u %u 1", id, id);
	return write_file(file, text);
}

static int mount_empty(const char *to, uint64_t size)
{
	char text[96];
	snprintf(text, sizeof text, "mode=1777,size=%llu,nr_inodes=" MOST_FILES,
		(unsigned long long)size);
	return mount("tmpfs", to, "tmpfs", MS_NOSUID | MS_NODEV, text) < 0 ? -errno : 0;
}

/* Cover what is bound at TO. What is not there needs no cover. */
static int mask(const char *to)
{
	struct stat status;
	if (lstat(to, &status) < 0 || S_ISLNK(status.st_mode))
		return 0;
	if (S_ISDIR(status.st_mode)) {
		/* one of its own: for the hostfs of UML 6.12, paths with one inode are one
		 * directory, also for what the guest mounts there */
		unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV;
		return mount("tmpfs", to, "tmpfs", flags, "mode=755,size=4096") < 0 ? -errno : 0;
	}
	return mount(EMPTY_FILE, to, NULL, MS_BIND, NULL) < 0 ? -errno : make_tree_read_only(to);
}

/* Make one path of the new root. SOURCE is its open source. */
static int make_path(const struct sandbox_path *path, int source)
{
	char from[64], to[PATH_MAX];
	struct stat status = {.st_mode = 0};
	snprintf(to, sizeof to, "%s%s", ROOT, path->path);
	if (path->access == MASK)
		return mask(to);
	if (source >= 0 && fstat(source, &status) < 0)
		return -errno;
	make_mount_point(ROOT, path->path, path->access == EMPTY || S_ISDIR(status.st_mode));
	if (path->access == EMPTY)
		return mount_empty(to, path->size);
	if (path->access == LINK)
		return unlink(to) < 0 || symlink(path->source, to) < 0 ? -errno : 0;
	snprintf(from, sizeof from, "/proc/self/fd/%d", source);
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	return make_tree_read_only(to);
}

/* Open all sources: in the new namespace, or they could not be bound, and before the new root hides
 * them. */
static int open_sources(const struct sandbox *sandbox, int *sources, const char **step)
{
	for (size_t i = 0; i < sandbox->paths; i++) {
		const struct sandbox_path *path = &sandbox->path[i];
		sources[i] = -1;
		if (!path->source || path->access == LINK)
			continue;
		*step = path->source;
		sources[i] = open(path->source, O_PATH | O_CLOEXEC);
		if (sources[i] < 0)
			return -errno;
	}
	return 0;
}

int sandbox_begin(const char **step)
{
	unsigned uid = getuid(), gid = getgid();
	int error;
	*step = "new namespaces";
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		return -errno;
	*step = "user map";
	write_file("/proc/self/setgroups", "deny"); /* required before a group is mapped */
	if ((error = map_identity("/proc/self/uid_map", uid)) < 0)
		return error;
	*step = "group map";
	return map_identity("/proc/self/gid_map", gid);
}

static int make_root(void)
{
	if (mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") < 0)
		return -errno;
	make_mount_point("", EMPTY_FILE, false);
	return 0;
}

static int enter_root(void)
{
	unsigned long flags = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
	if (chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
		umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ||
		mount(NULL, "/", NULL, flags, "mode=755,size=1m") < 0)
		return -errno;
	return 0;
}

static int fill_root(const struct sandbox *sandbox, const int *sources, const char **step)
{
	*step = "a new root";
	int error = make_root();
	for (size_t i = 0; i < sandbox->paths && !error; i++) {
		*step = sandbox->path[i].path;
		error = make_path(&sandbox->path[i], sources[i]);
		close(sources[i]);
	}
	if (error)
		return error;
	*step = "pivot_root";
	return enter_root();
}

int sandbox_enter(const struct sandbox *sandbox, const char **step)
{
	int *sources = xcalloc(sandbox->paths, sizeof *sources);
	*step = "new namespaces";
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		return -errno;
	*step = "private mounts";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	int error = open_sources(sandbox, sources, step);
	if (!error)
		error = fill_root(sandbox, sources, step);
	free(sources);
	return error;
}

void sandbox_fork(void)
{
	int status = 0;
	pid_t ended, guest = fork();
	if (guest < 0)
		die(errno, "cannot fork for", "the guest");
	if (guest == 0) {
		setpgid(0, 0);
		return;
	}
	prctl(PR_SET_DUMPABLE, 0); /* the guest's process must not trace its init */
	do
		ended = wait(&status);
	while (ended != guest && (ended > 0 || errno == EINTR));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void sandbox_drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
	for (unsigned long each = 0; prctl(PR_CAPBSET_READ, each) >= 0; each++)
		if (prctl(PR_CAPBSET_DROP, each) < 0)
			die(errno, "cannot drop", "a capability");
	if (syscall(SYS_capset, &header, none) < 0)
		die(errno, "cannot drop", "the capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die(errno, "cannot give up", "new privileges");
}
