/* Maps a file with a long path as often as it can, up to 64,000 times. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
	char place[] = "/tmp/foothold-maps-XXXXXX", name[201];
	if (!mkdtemp(place) || chdir(place) < 0)
		return 1;
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = 0;
	for (int i = 0; i < 10; i++)
		if (mkdir(name, 0700) < 0 || chdir(name) < 0)
			return 2;
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return 3;
	for (int i = 0; i < 64000; i++)
		if (mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_SHARED, fd, 0) ==
			MAP_FAILED)
			break;
	unlink("file");
	return 0;
}
