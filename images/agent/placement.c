#define _GNU_SOURCE
#include "placement.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void complain(struct placement *placement, const char *path, int error)
{
	if (!*placement->complaint)
		snprintf(placement->complaint, sizeof placement->complaint, "%s: %s", path,
			strerror(error));
}

/* Is it a path below the directory, without a part `..`? */
static bool is_below(const char *path)
{
	if (*path == '/' || !*path)
		return false;
	for (const char *part = path; part; part = strchr(part, '/')) {
		part += *part == '/';
		if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2]))
			return false;
	}
	return true;
}

static int make_directory(int parent, const char *path, mode_t mode)
{
	struct stat status;
	if (mkdirat(parent, path, mode) == 0)
		return fchmodat(parent, path, mode, 0) < 0 ? -errno : 0; /* without the umask */
	if (errno != EEXIST)
		return -errno;
	if (fstatat(parent, path, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

static int make_file(struct placement *placement, const char *path, mode_t mode)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	unlinkat(placement->directory, path, 0);
	placement->file = openat(placement->directory, path, flags, 0600);
	if (placement->file < 0 || fchmod(placement->file, mode) < 0)
		return -errno;
	return 0;
}

static int make_link(int parent, const char *path, const char *target)
{
	unlinkat(parent, path, 0);
	return symlinkat(target, parent, path) < 0 ? -errno : 0;
}

static void close_file(struct placement *placement)
{
	if (placement->file >= 0 && close(placement->file) < 0)
		complain(placement, "a file", errno);
	placement->file = -1;
}

void placement_open(struct placement *placement, int directory)
{
	*placement = (struct placement){.directory = directory, .file = -1};
}

static int make_entry(struct placement *placement, char *entry, const char **path)
{
	char *end;
	unsigned long mode = strtoul(entry, &end, 8);
	const char *target = entry + strlen(entry) + 1;
	mode_t permissions = (mode_t)mode & 0777;
	*path = end + (*end == ' ');
	if (*end != ' ' || !is_below(*path))
		return -EINVAL;
	if (S_ISDIR(mode))
		return make_directory(placement->directory, *path, permissions | 0700);
	if (S_ISLNK(mode))
		return make_link(placement->directory, *path, target);
	return make_file(placement, *path, permissions);
}

void placement_begin(struct placement *placement, const unsigned char *entry, size_t length)
{
	const char *path = "an entry";
	close_file(placement);
	char *text = xcalloc(length + 2, 1); /* both parts end with a NUL byte */
	memcpy(text, entry, length);
	int error = make_entry(placement, text, &path);
	if (error)
		complain(placement, path, -error);
	free(text);
}

void placement_write(struct placement *placement, const unsigned char *bytes, size_t length)
{
	int error = placement->file < 0 ? 0 : write_all(placement->file, bytes, length);
	if (error)
		complain(placement, "a file", -error);
}

const char *placement_end(struct placement *placement)
{
	static char complaint[sizeof placement->complaint];
	close_file(placement);
	memcpy(complaint, placement->complaint, sizeof complaint);
	*placement->complaint = 0;
	return complaint;
}
