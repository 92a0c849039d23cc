#define _GNU_SOURCE
#include "subject_root.h"

#include "mount_point.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory that is empty and writable. `ours`: only if the base is a root of ours; that of a
 * host has files there. */
struct fresh {
	const char *path;
	mode_t mode;
	bool ours;
};

static const struct fresh fresh[] = {
	{"/tmp", 01777, false},
	{"/var/tmp", 01777, false},
	{"/run", 0755, false},
	{"/root", 0700, false},
	{"/home", 0755, true},
	{"/var/cache", 0755, true},
	{"/var/lib", 0755, true},
	{"/var/log", 0755, true},
	{"/var/spool", 0755, true},
};
#define FRESH (sizeof fresh / sizeof *fresh)

/* The root while it is made. */
struct making {
	const struct subject_root *root;
	bool is_fresh[FRESH];
	char step[PATH_MAX]; /* what is being laid over; empty: something of the base */
};

int subject_root_option(struct subject_root *root, int argc, char **argv, int at)
{
	if (at + 1 >= argc)
		return 0;
	if (!strcmp(argv[at], "--subject-root"))
		root->place = argv[at + 1];
	else if (!strcmp(argv[at], "--base"))
		root->base = argv[at + 1];
	else if (!strcmp(argv[at], "--overlay"))
		root->overlay = argv[at + 1];
	else if (!strcmp(argv[at], "--image"))
		root->image = argv[at + 1];
	else
		return 0;
	return 2;
}

static bool is_directory(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int join(char whole[PATH_MAX], const char *directory, const char *name)
{
	int length = snprintf(whole, PATH_MAX, "%s/%s", directory, name);
	return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool is_fresh(const struct making *making, const char *path)
{
	for (size_t i = 0; i < FRESH; i++)
		if (making->is_fresh[i] && !strcmp(fresh[i].path, path))
			return true;
	return false;
}

/* Is one of the fresh directories below this one? */
static bool holds_fresh(const struct making *making, const char *path)
{
	size_t length = strlen(path);
	for (size_t i = 0; i < FRESH; i++)
		if (making->is_fresh[i] && !strncmp(fresh[i].path, path, length) &&
			fresh[i].path[length] == '/')
			return true;
	return false;
}

/* An entry of a directory. */
struct entry {
	const char *from; /* its path in the base or in the overlay */
	const char *path; /* its path in the new root */
	unsigned char type;
};

static unsigned char type_of(const char *path, const struct dirent *listed)
{
	struct stat status;
	if (listed->d_type != DT_UNKNOWN)
		return listed->d_type;
	return lstat(path, &status) == 0 ? IFTODT(status.st_mode) : DT_UNKNOWN;
}

static int copy_link(const char *from, const char *to)
{
	char target[PATH_MAX];
	ssize_t length = readlink(from, target, sizeof target - 1);
	if (length < 0)
		return -errno;
	target[length] = 0;
	return symlink(target, to) < 0 ? -errno : 0;
}

/* Have an entry in the new root: a link is copied, anything else is bound. The directory around it
 * exists. Returns -EEXIST if the new root has such an entry. */
static int place_entry(const struct making *making, const struct entry *entry)
{
	char to[PATH_MAX];
	int error = join(to, making->root->place, entry->path + 1);
	if (error)
		return error;
	if (entry->type == DT_UNKNOWN)
		return -ENOENT;
	if (entry->type == DT_LNK)
		return copy_link(entry->from, to);
	int made = entry->type == DT_DIR ? mkdir(to, 0755) : mknod(to, S_IFREG | 0600, 0);
	if (made < 0)
		return -errno;
	return mount(entry->from, to, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

static int merge(struct making *making, const char *base, const char *overlay, const char *path);

/* An entry that the overlay may have as well: it wins. What cannot be had of the base is left out.
 */
static void take_from_base(struct making *making, const struct entry *entry)
{
	if (is_fresh(making, entry->path))
		return;
	if (holds_fresh(making, entry->path) && is_directory(entry->from))
		merge(making, entry->from, NULL, entry->path);
	else
		place_entry(making, entry);
}

/* An entry of the overlay. BASE is what the base has there, if it has. */
static int take_from_overlay(struct making *making, const struct entry *entry, const char *base)
{
	bool empty = is_fresh(making, entry->path), both = !empty && base && is_directory(base);
	if (entry->type == DT_DIR && (empty || both || holds_fresh(making, entry->path)))
		return merge(making, both ? base : NULL, entry->from, entry->path);
	snprintf(making->step, sizeof making->step, "%s", entry->path);
	int error = place_entry(making, entry);
	if (!error)
		making->step[0] = 0;
	return error;
}

static bool is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void merge_base(struct making *making, const char *base, const char *path)
{
	char from[PATH_MAX], to[PATH_MAX];
	DIR *directory = opendir(*base ? base : "/");
	for (struct dirent *listed; directory && (listed = readdir(directory));) {
		if (!is_entry(listed) || join(from, base, listed->d_name) ||
			join(to, path, listed->d_name))
			continue;
		struct entry entry = {from, to, type_of(from, listed)};
		take_from_base(making, &entry);
	}
	if (directory)
		closedir(directory);
}

static int merge_overlay(
	struct making *making, const char *base, const char *overlay, const char *path)
{
	char from[PATH_MAX], below[PATH_MAX], to[PATH_MAX];
	int error = 0;
	DIR *directory = opendir(overlay);
	if (!directory)
		return -errno;
	for (struct dirent *listed; !error && (listed = readdir(directory));) {
		if (!is_entry(listed))
			continue;
		error = join(from, overlay, listed->d_name);
		if (!error)
			error = join(to, path, listed->d_name);
		if (!error && base)
			error = join(below, base, listed->d_name);
		struct entry entry = {from, to, type_of(from, listed)};
		if (!error)
			error = take_from_overlay(making, &entry, base ? below : NULL);
	}
	closedir(directory);
	return error;
}

/* Make the directory PATH of the new root of two directories, each of which may be NULL. What the
 * overlay has is made first. Returns -EEXIST if the new root has such an entry. */
static int merge(struct making *making, const char *base, const char *overlay, const char *path)
{
	char whole[PATH_MAX];
	int error = join(whole, making->root->place, path + (*path == '/'));
	if (!error && *path && mkdir(whole, 0755) < 0)
		error = -errno;
	if (!error && overlay)
		error = merge_overlay(making, base, overlay, path);
	if (!error && base)
		merge_base(making, base, path);
	return error;
}

static void make_fresh(const struct making *making)
{
	char whole[PATH_MAX];
	for (size_t i = 0; i < FRESH; i++) {
		if (!making->is_fresh[i] || join(whole, making->root->place, fresh[i].path + 1))
			continue;
		make_mount_point(making->root->place, fresh[i].path, true);
		chmod(whole, fresh[i].mode);
	}
	if (!join(whole, making->root->place, "var/run") && symlink("/run", whole) < 0)
		return; /* the base has one */
}

static bool is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);
	return !strncmp(path, directory, length) && path[length] == '/';
}

/* Have the image at its path. A fresh directory above it, which may be root's alone, becomes one
 * that every user can pass. */
static int place_image(const struct making *making)
{
	const char *image = making->root->image;
	char whole[PATH_MAX], to[PATH_MAX];
	int error = join(to, making->root->place, image + 1);
	if (error)
		return error;
	for (size_t i = 0; i < FRESH; i++)
		if (making->is_fresh[i] && is_below(image, fresh[i].path) &&
			!join(whole, making->root->place, fresh[i].path + 1) &&
			chmod(whole, fresh[i].mode | 0111) < 0)
			return -errno;
	make_mount_point(making->root->place, image, true);
	return mount(image, to, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

/* Shared memory of the subject's own: shm_open(3). */
static void mount_shm(const struct making *making)
{
	char whole[PATH_MAX];
	if (!join(whole, making->root->place, "dev/shm") && is_directory(whole))
		mount("tmpfs", whole, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
}

/* Only what is fresh is writable, as on the root of a host: every fresh directory becomes a mount
 * of its own, and the mount of the rest becomes read-only. */
static int protect(const struct making *making)
{
	char whole[PATH_MAX];
	for (size_t i = 0; i < FRESH; i++)
		if (making->is_fresh[i] && !join(whole, making->root->place, fresh[i].path + 1) &&
			mount(whole, whole, NULL, MS_BIND | MS_REC, NULL) < 0)
			return -errno;
	unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY;
	return mount(NULL, making->root->place, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* Is this agent in a guest of ours? PID 1 is then the same program. This protects the host: a
 * mount namespace of root on the host would show its own files to the subject. Another user than
 * root cannot mount anything (and cannot see what PID 1 is). */
static bool in_guest(void)
{
	struct stat first, own;
	return geteuid() != 0 ||
	       (stat("/proc/1/exe", &first) == 0 && stat("/proc/self/exe", &own) == 0 &&
		       first.st_dev == own.st_dev && first.st_ino == own.st_ino);
}

int subject_root_check(void)
{
	return in_guest() ? 0 : -EPERM;
}

/* Files of the guest that the next subject needs too. What is bound from a mount that is read-only
 * is read-only. Those that are not mounts are part of the first one. */
static void make_shared_files_read_only(void)
{
	static const char *const shared[] = {"/", "/share", "/etc", "/usr"};
	for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
		mount(NULL, shared[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

/* All that is mounted here, and shared memory and queues of System V, vanish with the last process
 * of the namespaces. A kernel may be built without those for IPC. It is asked for each of the two
 * alone: Linux 5.10 leaves the root of this process in a mount namespace that is gone, if it makes
 * that and then refuses the other. */
static int enter_namespaces(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	(void)unshare(CLONE_NEWIPC);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	make_shared_files_read_only();
	return 0;
}

int subject_root_make(const struct subject_root *root, const char **step)
{
	static struct making making;
	const char *base = root->base && strcmp(root->base, "/") != 0 ? root->base : "";
	making = (struct making){.root = root};
	*step = "its namespaces";
	int error = subject_root_check();
	if (!error)
		error = enter_namespaces();
	if (error)
		return error;
	*step = root->place;
	make_mount_point("", root->place, true);
	if (mount("tmpfs", root->place, "tmpfs", 0, "mode=755") < 0)
		return -errno;
	for (size_t i = 0; i < FRESH; i++)
		making.is_fresh[i] = !fresh[i].ours || !*base;
	*step = making.step;
	error = merge(&making, base, root->overlay, "");
	if (error)
		return error;
	make_fresh(&making);
	mount_shm(&making);
	if (root->image) {
		*step = root->image;
		error = place_image(&making);
		if (error)
			return error;
	}
	*step = "the mounts of its writable directories";
	return protect(&making);
}
