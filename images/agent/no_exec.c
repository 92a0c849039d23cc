#define _GNU_SOURCE
#include "no_exec.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

int no_exec_prepare(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return 0;
}

/* A mount keeps its other flags only if they are given again. */
static unsigned long flags_of(const struct statvfs *mounted)
{
	static const struct {
		unsigned long shown, flag;
	} kept[] = {
		{ST_RDONLY, MS_RDONLY},
		{ST_NOSUID, MS_NOSUID},
		{ST_NODEV, MS_NODEV},
	};
	unsigned long flags = 0;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (mounted->f_flag & kept[i].shown)
			flags |= kept[i].flag;
	return flags;
}

int no_exec_mount(const char *directory)
{
	struct statvfs mounted;
	if (statvfs(directory, &mounted) < 0 ||
		mount(directory, directory, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOEXEC | flags_of(&mounted);
	return mount(NULL, directory, NULL, flags, NULL) < 0 ? -errno : 0;
}
