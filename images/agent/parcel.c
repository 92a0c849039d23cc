/* What the host hands in over the line when a guest is ready for it: randomness, the time, files.
 *
 * READY goes out; then comes one line, `parcel SEED SECONDS LENGTH`, SEED 64 hexadecimal digits,
 * SECONDS and LENGTH 17 and 12 characters wide, and LENGTH bytes of newc archives, which are laid over
 * the root. The line is as long every time, to be read at once: a call for each of its bytes takes
 * 10 ms under emulation.
 *
 * A guest may be saved while it waits here, and go on more than once, later: all that must not be
 * the same twice (what its random numbers come from, the keys of its SSH server) and all that must
 * be of today (its clock, what is under test) comes in after that. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READY "foothold ready\n"
#define SEED 32
#define HEAD (7 + 2 * SEED + 1 + 17 + 1 + 12 + 1)

static void read_all(int fd, void *data, size_t length)
{
	for (char *at = data; length > 0;) {
		ssize_t got = read(fd, at, length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			fail("cannot read", "what the host hands in");
		at += got;
		length -= (size_t)got;
	}
}

/* Random numbers that were drawn ahead are thrown away too: see RNDRESEEDCRNG in random(4). */
static void take_seed(const char *digits)
{
	struct {
		struct rand_pool_info info;
		unsigned char bytes[SEED];
	} seed = { { SEED * 8, SEED }, { 0 } };
	for (int i = 0; i < SEED; i++)
		if (sscanf(digits + 2 * i, "%2hhx", &seed.bytes[i]) != 1)
			fail("not a seed:", digits);
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &seed) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		fail("cannot seed", "/dev/urandom");
	close(fd);
}

static unsigned long field(const char *record, int nth)
{
	char digits[9] = "";
	memcpy(digits, record + 6 + 8 * nth, 8);
	return strtoul(digits, NULL, 16);
}

/* Documentation/driver-api/early-userspace/buffer-format.rst; directories, files and links. */
static void lay_out(char *archive, size_t length)
{
	for (size_t at = 0; at + 110 <= length;) {
		char *record = archive + at, *name = record + 110;
		mode_t mode = (mode_t)field(record, 1);
		size_t size = field(record, 6), named = field(record, 11);
		size_t data = (at + 110 + named + 3) & ~(size_t)3, next = (data + size + 3) & ~(size_t)3;
		if (memcmp(record, "070701", 6) || next > length || name[named - 1])
			fail("not an archive:", "what the host hands in");
		if (!strcmp(name, "TRAILER!!!")) {
			; /* another archive may follow */
		} else if (S_ISDIR(mode)) {
			mkdir(name, mode & 07777);
		} else if (S_ISLNK(mode)) {
			char target[4096] = "";
			memcpy(target, archive + data, size < sizeof target ? size : sizeof target - 1);
			if (symlink(target, name) < 0)
				fail("cannot make", name);
		} else {
			int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode & 07777);
			if (fd < 0)
				fail("cannot make", name);
			write_all(fd, archive + data, size);
			close(fd);
		}
		at = next;
	}
}

void parcel_take(int line)
{
	char head[HEAD + 1] = "", digits[2 * SEED + 1];
	double now;
	size_t length;
	write_all(line, READY, strlen(READY));
	read_all(line, head, HEAD);
	if (sscanf(head, "parcel %64s %lf %zu", digits, &now, &length) != 3)
		fail("not a parcel:", head);
	take_seed(digits);
	struct timespec time = { (time_t)now, (long)((now - (double)(time_t)now) * 1e9) };
	clock_settime(CLOCK_REALTIME, &time);
	char *archive = malloc(length);
	read_all(line, archive, length);
	if (chdir("/") == 0)
		lay_out(archive, length);
	free(archive);
}
