#define _GNU_SOURCE
#include "boot_payload.h"

#include "newc.h"
#include "random_seed.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READY "foothold ready\n"
#define HEAD (8 + SEED_DIGITS + 1 + 17 + 1 + 12 + 1)

static void set_clock(double now)
{
	struct timespec time = {(time_t)now, (long)((now - (double)(time_t)now) * 1e9)};
	clock_settime(CLOCK_REALTIME, &time);
}

static int unpack_link(const struct newc_entry *entry)
{
	char *target = xstrndup(entry->data, entry->size);
	int error = symlink(target, entry->name) < 0 ? -errno : 0;
	free(target);
	return error;
}

static int unpack_file(const struct newc_entry *entry)
{
	int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
	int fd = open(entry->name, flags, entry->mode & 07777);
	if (fd < 0)
		return -errno;
	int error = write_all(fd, entry->data, entry->size);
	close(fd);
	return error;
}

/* Make a directory, link or file below the current directory. Returns 0 or a negative errno. */
static int unpack_entry(const struct newc_entry *entry)
{
	if (S_ISDIR(entry->mode))
		return mkdir(entry->name, entry->mode & 07777) < 0 && errno != EEXIST ? -errno : 0;
	return S_ISLNK(entry->mode) ? unpack_link(entry) : unpack_file(entry);
}

static void unpack(const char *archive, size_t length)
{
	struct newc_entry entry;
	size_t at = 0;
	int found;
	while ((found = newc_next(archive, length, &at, &entry)) > 0) {
		int error = unpack_entry(&entry);
		if (error)
			die(-error, "cannot unpack", entry.name);
	}
	if (found < 0)
		die(-found, "cannot read the archive of", "the boot payload");
}

void boot_payload_receive(int line)
{
	char head[HEAD + 1] = "", digits[SEED_DIGITS + 1];
	double now;
	size_t length;
	int error = write_all(line, READY, strlen(READY));
	if (!error)
		error = read_all(line, head, HEAD);
	if (error)
		die(-error, "cannot receive", "the boot payload");
	if (sscanf(head, "payload %64s %lf %zu", digits, &now, &length) != 3)
		die(EPROTO, "cannot read the head of the boot payload:", head);
	seed_random(digits);
	set_clock(now);
	char *archive = xmalloc(length);
	error = read_all(line, archive, length);
	if (error)
		die(-error, "cannot receive", "the boot payload");
	if (chdir("/") < 0)
		die(errno, "cannot enter", "/");
	unpack(archive, length);
	free(archive);
}
