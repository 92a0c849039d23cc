#define _GNU_SOURCE
#include "bind_images.h"

#include "kernel_module.h"
#include "mount_point.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LIST "/share/shown"
#define NEW_ROOT "/host" /* unused in guests that do not have the host's root there */

static void complain(const char *action, const char *object, int error)
{
	fprintf(stderr, "foothold: cannot %s %s: %s\n", action, object, strerror(error));
}

/* Have an entry of the old root in the new one: a link is copied, anything else is bound. */
static void bind_entry(const char *name)
{
	char from[512], to[512], target[512];
	struct stat status;
	snprintf(from, sizeof from, "/%s", name);
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
	make_mount_point(NEW_ROOT, from, S_ISDIR(status.st_mode));
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		complain("bind", to, errno);
}

static bool is_bound(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, &NEW_ROOT[1]) != 0;
}

/* Change to a root in which directories can be made: a tmpfs with all that the old one has. */
static void make_root_writable(void)
{
	DIR *root = opendir("/");
	if (!root || mount("tmpfs", NEW_ROOT, "tmpfs", 0, "mode=755") < 0) {
		complain("make", "a new root", errno);
		if (root)
			closedir(root);
		return;
	}
	for (struct dirent *entry; (entry = readdir(root));)
		if (is_bound(entry->d_name))
			bind_entry(entry->d_name);
	closedir(root);
	mkdir(NEW_ROOT NEW_ROOT, 0755);
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		complain("enter", "the new root", errno);
}

/* One line of the list. */
static void bind_image(const char *line)
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
	make_mount_point("", place, true);
	unsigned long flags = strcmp(type, "bind") ? MS_RDONLY : MS_BIND;
	if (mount(source, place, type, flags, strcmp(type, "hostfs") ? NULL : place) < 0)
		complain("mount", place, errno);
}

void bind_images(void)
{
	struct statvfs root;
	char *list = read_file(LIST, NULL), *rest = NULL;
	if (!list)
		return;
	bool read_only = statvfs("/", &root) == 0 && root.f_flag & ST_RDONLY;
	if (read_only)
		make_root_writable();
	for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		bind_image(line);
	if (read_only)
		mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
	free(list);
}
