/* Says how it was started and what it may do, and reserves memory at a hint above 39 bits. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void try_to_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	printf("write %s: %s\n", path, fd < 0 ? strerror(errno) : "possible");
	if (fd >= 0)
		close(fd);
}

static void show(const char *path)
{
	char line[256];
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file))
		printf("%s: %s", path, line);
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	char place[4096];
	printf("user %d, directory %s, LEVEL=%s, arguments", (int)getuid(), getcwd(place, sizeof place),
		getenv("LEVEL") ? getenv("LEVEL") : "");
	for (int i = 1; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\n");
	try_to_write("/written");
	try_to_write("written");
	try_to_write("/.foothold/agent/agent");
	try_to_write("/.foothold/share/written");
	show("/proc/self/status");
	show("/proc/self/limits");
	show("/proc/net/dev");
	char *heap = mmap((void *)0xf800000000, 64 << 20, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap != (char *)0xf800000000)
		return 9;
	heap[0] = 1;
	return 0;
}
