#define _GNU_SOURCE
#include "mount_point.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void make_mount_point(const char *root, const char *path, bool directory)
{
	char whole[PATH_MAX];
	snprintf(whole, sizeof whole, "%s%s", root, path);
	for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(whole, 0755);
		*slash = '/';
	}
	if (directory) {
		mkdir(whole, 0755);
		return;
	}
	int fd = open(whole, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}
