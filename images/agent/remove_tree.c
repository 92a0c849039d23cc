#define _GNU_SOURCE
#include "remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MOST_NAMES 100000 /* that are tried for a directory that is moved */

/* The directory that becomes empty. */
struct removal {
	int top;
	dev_t device;
	unsigned moved; /* directories that were moved to the top */
};

static bool is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Open the entries of an open directory, whose own offset is not used. */
static DIR *open_entries(int directory)
{
	int fd = openat(directory, ".", OPEN_FLAGS);
	DIR *entries = fd < 0 ? NULL : fdopendir(fd);
	if (fd >= 0 && !entries)
		close(fd);
	return entries;
}

/* Is the entry a directory of this file system? Returns 1, 0, or a negative errno. */
static int is_directory(const struct removal *removal, int parent, const char *name)
{
	struct stat status;
	if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(status.st_mode))
		return 0;
	return status.st_dev == removal->device ? 1 : -EXDEV;
}

/* Move a directory to the top, under a new name. */
static int move_to_top(struct removal *removal, int parent, const char *name)
{
	char target[32];
	fchmodat(parent, name, 0700, 0); /* to move a directory its own mode has to allow it */
	for (int i = 0; i < MOST_NAMES; i++) {
		snprintf(target, sizeof target, "moved-%u", removal->moved++);
		if (renameat(parent, name, removal->top, target) == 0)
			return 0;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			return -errno;
	}
	return -EEXIST;
}

/* Remove the entries of a directory below the top. Its directories move to the top instead of being
 * entered: a tree of any depth needs no recursion. */
static int clear_directory(struct removal *removal, int directory)
{
	int error = 0;
	DIR *entries = open_entries(directory);
	if (!entries)
		return -errno;
	for (struct dirent *entry; !error && (entry = readdir(entries));) {
		if (!is_entry(entry))
			continue;
		int kind = is_directory(removal, directory, entry->d_name);
		if (kind < 0)
			error = kind;
		else if (kind)
			error = move_to_top(removal, directory, entry->d_name);
		else if (unlinkat(directory, entry->d_name, 0) < 0)
			error = -errno;
	}
	closedir(entries);
	return error;
}

static int remove_directory(struct removal *removal, const char *name)
{
	fchmodat(removal->top, name, 0700, 0); /* a program may have made it unreadable */
	int directory = openat(removal->top, name, OPEN_FLAGS);
	if (directory < 0)
		return -errno;
	int error = clear_directory(removal, directory);
	close(directory);
	if (!error && unlinkat(removal->top, name, AT_REMOVEDIR) < 0)
		error = -errno;
	return error;
}

static int remove_entry(struct removal *removal, const char *name)
{
	int kind = is_directory(removal, removal->top, name);
	if (kind > 0)
		return remove_directory(removal, name);
	return kind == 0 && unlinkat(removal->top, name, 0) < 0 ? -errno : kind;
}

/* Remove what the top has now. Returns how many entries that were, or a negative errno; an entry
 * that cannot be removed does not keep the others. */
static int sweep(struct removal *removal)
{
	int error = 0, removed = 0;
	DIR *entries = open_entries(removal->top);
	if (!entries)
		return -errno;
	for (struct dirent *entry; (entry = readdir(entries));) {
		if (!is_entry(entry))
			continue;
		int result = remove_entry(removal, entry->d_name);
		if (result)
			error = result;
		else
			removed++;
	}
	closedir(entries);
	return removed || !error ? removed : error;
}

int empty_directory(int directory)
{
	struct removal removal = {.top = directory};
	struct stat status;
	int removed;
	if (fstat(directory, &status) < 0)
		return -errno;
	removal.device = status.st_dev;
	do
		removed = sweep(&removal);
	while (removed > 0);
	return removed;
}

int remove_tree(int parent, const char *name)
{
	int directory = openat(parent, name, OPEN_FLAGS);
	if (directory < 0)
		return -errno;
	int error = empty_directory(directory);
	close(directory);
	if (!error && unlinkat(parent, name, AT_REMOVEDIR) < 0)
		error = -errno;
	return error;
}
