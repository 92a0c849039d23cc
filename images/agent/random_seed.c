#define _GNU_SOURCE
#include "random_seed.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SEED (SEED_DIGITS / 2) /* bytes */

/* Random numbers that the kernel has drawn ahead are discarded too: random(4), RNDRESEEDCRNG. */
void seed_random(const char *digits)
{
	struct { /* struct rand_pool_info with its buffer */
		int entropy_count, buf_size;
		unsigned char bytes[SEED];
	} seed = {SEED * 8, SEED, {0}};
	for (int i = 0; i < SEED; i++)
		if (sscanf(digits + 2 * i, "%2hhx", &seed.bytes[i]) != 1)
			die(EINVAL, "cannot use the seed", digits);
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &seed) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		die(errno, "cannot seed", "/dev/urandom");
	close(fd);
}
