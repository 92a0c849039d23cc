/* A guest's process on the host sees the files that it is handed, and no network.
 *
 * UML reaches host files by hostfs, and root inside a UML guest may mount any directory that the
 * UML process can open. So the process gets a root of its own: user, mount, network and IPC
 * namespaces of its own, a tmpfs as root, and the handed paths bound into it under their own names. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --ro PATH, --rw PATH: hand a file or directory of the host to the guest's process.
 * --tmpfs PATH: an empty one of its own, executable (UML maps its memory file from there).
 * --tree DIR PATH: a directory with all that is mounted in it, read-only at PATH. */
int confine_option(struct confinement *confinement, int argc, char **argv, int at)
{
	static const char *names[] = { "--ro", "--rw", "--tmpfs", "--tree" };
	for (int how = READ_ONLY; how <= TREE; how++) {
		int words = how == TREE ? 2 : 1;
		if (at + words < argc && confinement->paths < 32 && !strcmp(argv[at], names[how])) {
			int i = confinement->paths++;
			confinement->path[i].source = argv[at + 1];
			confinement->path[i].path = argv[at + words];
			confinement->path[i].how = how;
			return 1 + words;
		}
	}
	return 0;
}

/* Nothing mounted at PATH or below it can be written to. Needs Linux 5.12. */
static int all_read_only(const char *path)
{
	struct { uint64_t set, clear, propagation, userns; } change = { 1 /* MOUNT_ATTR_RDONLY */, 0, 0, 0 };
	return (int)syscall(442 /* mount_setattr, of every machine */, AT_FDCWD, path, 0x8000 /* AT_RECURSIVE */,
	                    &change, sizeof change);
}

/* NULL when done, else the name of the step that the host refused (errno says why). */
const char *confine(const struct confinement *confinement)
{
	static const char root[] = "/tmp";
	int source[32];
	struct stat status[32];
	char text[64], from[64], to[4096];
	uid_t uid = getuid();
	gid_t gid = getgid();
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		return "new namespaces";
	put_text("/proc/self/setgroups", "deny");
	snprintf(text, sizeof text, "%u %u 1", uid, uid);
	if (!put_text("/proc/self/uid_map", text))
		return "user map";
	snprintf(text, sizeof text, "%u %u 1", gid, gid);
	if (!put_text("/proc/self/gid_map", text))
		return "group map";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "private mounts";
	/* opened in the new namespace, or they could not be bound; before the root hides them */
	for (int i = 0; i < confinement->paths; i++) {
		if (confinement->path[i].how == EMPTY)
			continue;
		source[i] = open(confinement->path[i].source, O_PATH | O_CLOEXEC);
		if (source[i] < 0 || fstat(source[i], &status[i]) < 0)
			return confinement->path[i].source;
	}
	if (mount("tmpfs", root, "tmpfs", MS_NOSUID, "mode=755") < 0)
		return "root of its own";
	for (int i = 0; i < confinement->paths; i++) {
		const char *path = confinement->path[i].path;
		int empty = confinement->path[i].how == EMPTY;
		make_place(root, path, empty || S_ISDIR(status[i].st_mode));
		snprintf(from, sizeof from, "/proc/self/fd/%d", source[i]);
		snprintf(to, sizeof to, "%s%s", root, path);
		if (empty && mount("tmpfs", to, "tmpfs", MS_NOSUID, "mode=1777") < 0)
			return path;
		if (empty)
			continue;
		if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
			return path;
		if (confinement->path[i].how == TREE && all_read_only(to) < 0)
			return "everything read-only";
		/* flags that the source has locked must be repeated, or the kernel refuses */
		unsigned long keep = MS_BIND | MS_REMOUNT | MS_RDONLY;
		if (confinement->path[i].how == READ_ONLY && mount(NULL, to, NULL, keep, NULL) < 0 &&
		    mount(NULL, to, NULL, keep | MS_NOSUID | MS_NODEV, NULL) < 0 &&
		    mount(NULL, to, NULL, keep | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
			return path;
	}
	if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return "pivot";
	return NULL;
}
