#define _GNU_SOURCE
#include "work_directory.h"

#include "output.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_FILES 100
#define MOST_BYTES (4 << 20) /* of all files together */
#define MOST_DEPTH 16

/* Who gets the copies. */
struct owner {
	uid_t uid;
	gid_t gid;
};

/* What is sent of a working directory. */
struct sending {
	const char *files;
	size_t count, bytes;
	bool full;
};

static int join(char whole[PATH_MAX], const char *directory, const char *name)
{
	int length = snprintf(whole, PATH_MAX, "%s/%s", directory, name);
	return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* ---- the copies ---- */

static int copy_bytes(int from, int to)
{
	char buffer[1 << 16];
	for (;;) {
		ssize_t got = read(from, buffer, sizeof buffer);
		if (got == 0)
			return 0;
		if (got < 0)
			return -errno;
		int error = write_all(to, buffer, (size_t)got);
		if (error)
			return error;
	}
}

/* The time of its last change is copied too: it tells an unchanged copy from another file. */
static int copy_file(
	const char *from, const char *to, const struct stat *status, const struct owner *owner)
{
	int source = open(from, O_RDONLY | O_CLOEXEC);
	if (source < 0)
		return -errno;
	int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, status->st_mode & 07777);
	int error = target < 0 ? -errno : copy_bytes(source, target);
	struct timespec times[2] = {status->st_atim, status->st_mtim};
	if (!error && (fchown(target, owner->uid, owner->gid) < 0 ||
			      fchmod(target, (status->st_mode & 07777) | S_IRUSR | S_IWUSR) < 0 ||
			      futimens(target, times) < 0))
		error = -errno;
	if (target >= 0)
		close(target);
	close(source);
	return error;
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

static int copy_directory(const char *from, const char *to, const struct owner *owner);

static int copy_entry(const char *from, const char *to, const struct owner *owner)
{
	struct stat status;
	if (lstat(from, &status) < 0)
		return -errno;
	if (S_ISLNK(status.st_mode))
		return copy_link(from, to);
	if (!S_ISDIR(status.st_mode))
		return copy_file(from, to, &status, owner);
	/* the mode comes last: it may not let this user write */
	if (mkdir(to, 0700) < 0)
		return -errno;
	int error = copy_directory(from, to, owner);
	if (!error && (chown(to, owner->uid, owner->gid) < 0 ||
			      chmod(to, (status.st_mode & 07777) | S_IRWXU) < 0))
		error = -errno;
	return error;
}

static int copy_directory(const char *from, const char *to, const struct owner *owner)
{
	char source[PATH_MAX], target[PATH_MAX];
	DIR *directory = opendir(from);
	int error = directory ? 0 : -errno;
	for (struct dirent *entry; !error && (entry = readdir(directory));) {
		if (!is_entry(entry))
			continue;
		error = join(source, from, entry->d_name);
		if (!error)
			error = join(target, to, entry->d_name);
		if (!error)
			error = copy_entry(source, target, owner);
	}
	if (directory)
		closedir(directory);
	return error;
}

int work_directory_make(const char *place, const char *files, uid_t uid, gid_t gid)
{
	struct owner owner = {uid, gid};
	if (mkdir(place, 0755) < 0 || chown(place, uid, gid) < 0)
		return -errno;
	return files ? copy_directory(files, place, &owner) : 0;
}

/* ---- what was written ---- */

static bool is_copy(const struct sending *sending, const char *name, const struct stat *status)
{
	char path[PATH_MAX];
	struct stat original;
	return sending->files && !join(path, sending->files, name) && lstat(path, &original) == 0 &&
	       original.st_size == status->st_size &&
	       original.st_mtim.tv_sec == status->st_mtim.tv_sec &&
	       original.st_mtim.tv_nsec == status->st_mtim.tv_nsec;
}

/* Send an open file. The frame is the name, a NUL byte, and the content. */
static void send_content(struct sending *sending, int fd, const char *name, size_t size)
{
	size_t head = strlen(name) + 1, filled = head;
	if (sending->count == MOST_FILES || size > MOST_BYTES - sending->bytes) {
		sending->full = true;
		return;
	}
	char *frame = xmalloc(head + size);
	memcpy(frame, name, head);
	for (ssize_t got = 1; filled < head + size && got > 0;) {
		got = read(fd, frame + filled, head + size - filled);
		if (got > 0)
			filled += (size_t)got;
	}
	send_frame(FRAME_FILE, frame, filled);
	free(frame);
	sending->count++;
	sending->bytes += filled;
}

static void send_directory(struct sending *sending, int fd, const char *name, int depth);

/* Send an open file if it is a regular one and no copy; of a directory, all that is in it. */
static void send_entry(struct sending *sending, int fd, const char *name, int depth)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return;
	if (S_ISDIR(status.st_mode) && depth < MOST_DEPTH)
		send_directory(sending, fd, name, depth + 1);
	else if (S_ISREG(status.st_mode) && !is_copy(sending, name, &status))
		send_content(sending, fd, name, (size_t)status.st_size);
}

/* The subject chose the names: no link is followed, and nothing is opened that blocks. */
static void send_directory(struct sending *sending, int fd, const char *name, int depth)
{
	char below[PATH_MAX];
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		bool regular = entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
		if (!is_entry(entry) || (!regular && entry->d_type != DT_DIR))
			continue;
		snprintf(below, sizeof below, "%s", entry->d_name);
		if (*name && join(below, name, entry->d_name))
			continue;
		int found = openat(fd, entry->d_name,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (found < 0)
			continue;
		send_entry(sending, found, below, depth);
		close(found);
	}
	if (directory)
		closedir(directory);
	else if (copy >= 0)
		close(copy);
}

void work_directory_send(const char *place, const char *files)
{
	struct sending sending = {.files = files};
	int fd = open(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	send_directory(&sending, fd, "", 0);
	close(fd);
	if (sending.full)
		send_frame(FRAME_FILE, "", 1); /* without a name: there was more */
}
