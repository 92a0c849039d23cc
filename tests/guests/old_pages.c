/* A program that is built for pages of 4 KiB, as jemalloc on the build servers of most distributors:
 * on a kernel with larger pages it refuses to start. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

int main(void)
{
	if (sysconf(_SC_PAGESIZE) > PAGE) {
		fprintf(stderr, "<jemalloc>: Unsupported system page size\n");
		abort();
	}
	char *arena = mmap(NULL, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED || mprotect(arena + PAGE, PAGE, PROT_READ | PROT_WRITE))
		return 1;
	arena[PAGE] = 1;
	puts("ready");
	return 0;
}
