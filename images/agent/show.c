/* Directories of the host which a guest shows at the same place, read-only: images of runtimes, whose
 * programs name their loader and libraries by where they lie. /share/shown has a line of each:
 *
 *   TYPE SOURCE DIRECTORY     `hostfs none /…` in UML, `squashfs /dev/vda /…` in QEMU, `bind /… /…`
 *   module none FILE          a kernel module that is needed for it
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FRESH "/host" /* a directory that nobody needs who has no root of the host's */

static void complain(const char *what, const char *where)
{
	fprintf(stderr, "foothold: cannot %s %s: %s\n", what, where, strerror(errno));
}

/* Make every directory above PATH, below ROOT, and an empty file or directory for PATH itself. */
void make_place(const char *root, const char *path, int directory)
{
	char whole[4096];
	snprintf(whole, sizeof whole, "%s%s", root, path);
	for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(whole, 0755);
		*slash = '/';
	}
	if (directory)
		mkdir(whole, 0755);
	else
		close(open(whole, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

/* A root of our own in which directories can be made, with all that is in the old one bound into it. */
static void fresh_root(void)
{
	char from[512], to[512], link[512];
	struct stat status;
	DIR *root = opendir("/");
	if (!root || mount("tmpfs", FRESH, "tmpfs", 0, "mode=755") < 0) {
		complain("make", "a root of its own");
		return;
	}
	for (struct dirent *entry; (entry = readdir(root));) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !strcmp(entry->d_name, FRESH + 1))
			continue;
		snprintf(from, sizeof from, "/%s", entry->d_name);
		snprintf(to, sizeof to, FRESH "/%s", entry->d_name);
		if (lstat(from, &status) < 0)
			continue;
		ssize_t length = S_ISLNK(status.st_mode) ? readlink(from, link, sizeof link - 1) : -1;
		if (length >= 0) {
			link[length] = 0;
			if (symlink(link, to) < 0)
				complain("link", to);
			continue;
		}
		make_place(FRESH, from, S_ISDIR(status.st_mode));
		if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
			complain("bind", to);
	}
	closedir(root);
	mkdir(FRESH FRESH, 0755);
	if (chdir(FRESH) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		complain("enter", "a root of its own");
}

void show_directories(void)
{
	struct statvfs root;
	char *list = slurp("/share/shown", NULL), *rest = NULL;
	if (!list)
		return;
	int fixed = statvfs("/", &root) == 0 && root.f_flag & ST_RDONLY;
	if (fixed)
		fresh_root();
	for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char type[32], source[256];
		int at = 0;
		if (sscanf(line, "%31s %255s %n", type, source, &at) != 2)
			continue;
		char *place = line + at;
		if (!strcmp(type, "module")) {
			if (!load_module(place)) /* a kernel of the user's own may have it built in */
				complain("load", place);
			continue;
		}
		make_place("", place, 1);
		unsigned long how = strcmp(type, "bind") ? MS_RDONLY : MS_BIND;
		if (mount(source, place, type, how, strcmp(type, "hostfs") ? NULL : place) < 0)
			complain("show", place);
	}
	if (fixed)
		mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
	free(list);
}
