#define _GNU_SOURCE
#include "bind_images.h"

#include "kernel_module.h"
#include "mount_point.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LIST "/share/shown"
#define NEW_ROOT "/host" /* unused in guests that do not have the host's root there */
#define MOST_WRITABLE 8  /* directories of the root: all images lie in one store */

static void complain(const char *action, const char *object, int error)
{
	fprintf(stderr, "foothold: cannot %s %s: %s\n", action, object, strerror(error));
}

/* Have an entry of DIRECTORY below NEW_ROOT: a link is copied, anything else is bound. */
static void bind_entry(const char *directory, const char *name)
{
	char from[PATH_MAX + NAME_MAX + 2], to[sizeof NEW_ROOT + NAME_MAX + 2], target[PATH_MAX];
	struct stat status;
	snprintf(from, sizeof from, "%s/%s", directory, name);
	snprintf(to, sizeof to, NEW_ROOT "/%s", name);
	if (lstat(from, &status) < 0)
		return;
	ssize_t length = S_ISLNK(status.st_mode) ? readlink(from, target, sizeof target - 1) : -1;
	if (length >= 0) {
		target[length] = 0;
		if (symlink(target, to) < 0)
			complain("link", to, errno);
		return;
	}
	make_mount_point("", to, S_ISDIR(status.st_mode));
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		complain("bind", to, errno);
}

static bool is_bound(const char *directory, const char *name)
{
	bool is_new_root = !*directory && !strcmp(name, &NEW_ROOT[1]);
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_new_root;
}

/* Have what is mounted at NEW_ROOT as the root, or at another directory. */
static bool move_new_root(const char *directory)
{
	if (*directory)
		return mount(NEW_ROOT, directory, NULL, MS_MOVE, NULL) == 0;
	mkdir(NEW_ROOT NEW_ROOT, 0755);
	return chdir(NEW_ROOT) == 0 && mount(".", "/", NULL, MS_MOVE, NULL) == 0 &&
	       chroot(".") == 0 && chdir("/") == 0;
}

/* Put a tmpfs with the same entries in the place of a read-only DIRECTORY: others can be made in
 * it. The root is "". */
static bool make_writable(const char *directory)
{
	char whole[PATH_MAX + 1];
	snprintf(whole, sizeof whole, "%s/", directory);
	DIR *old = opendir(whole);
	if (!old || mount("tmpfs", NEW_ROOT, "tmpfs", 0, "mode=755") < 0) {
		complain("make writable", whole, errno);
		if (old)
			closedir(old);
		return false;
	}
	for (struct dirent *entry; (entry = readdir(old));)
		if (is_bound(directory, entry->d_name))
			bind_entry(directory, entry->d_name);
	closedir(old);
	bool moved = move_new_root(directory);
	if (!moved)
		complain("replace", whole, errno);
	return moved;
}

/* Directories that were made writable. */
struct writable {
	char directories[MOST_WRITABLE][PATH_MAX];
	int count;
};

/* Make the directory writable in which the first missing directory of PLACE has to be made. */
static void make_room(struct writable *writable, const char *place)
{
	char directory[PATH_MAX];
	struct stat status;
	struct statvfs system;
	snprintf(directory, sizeof directory, "%s", place);
	while (*directory && lstat(directory, &status) < 0)
		*strrchr(directory, '/') = 0;
	if (statvfs(*directory ? directory : "/", &system) < 0 || !(system.f_flag & ST_RDONLY) ||
		!strcmp(directory, place) || writable->count == MOST_WRITABLE)
		return;
	if (make_writable(directory))
		memcpy(writable->directories[writable->count++], directory, sizeof directory);
}

static void make_read_only(struct writable *writable)
{
	for (int i = 0; i < writable->count; i++) {
		const char *directory = writable->directories[i];
		unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY;
		if (mount(NULL, *directory ? directory : "/", NULL, flags, NULL) < 0)
			complain("make read-only", directory, errno);
	}
}

/* One line of the list. */
static void bind_image(struct writable *writable, const char *line)
{
	char type[32], source[256];
	int at = 0;
	if (sscanf(line, "%31s %255s %n", type, source, &at) != 2 || !at)
		return;
	const char *place = line + at;
	if (!strcmp(type, "module")) {
		int error = load_module(place);
		if (error) /* a kernel of the user may have it built in */
			complain("load", place, -error);
		return;
	}
	if (*place != '/')
		return;
	make_room(writable, place);
	make_mount_point("", place, true);
	unsigned long flags = strcmp(type, "bind") ? MS_RDONLY : MS_BIND;
	if (mount(source, place, type, flags, strcmp(type, "hostfs") ? NULL : place) < 0)
		complain("mount", place, errno);
}

void bind_images(void)
{
	struct writable writable = {.count = 0};
	char *list = read_file(LIST, NULL), *rest = NULL;
	if (!list)
		return;
	for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		bind_image(&writable, line);
	make_read_only(&writable);
	free(list);
}
