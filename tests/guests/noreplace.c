/* Reserves 64 MiB exactly where a page of its own is: Linux refuses MAP_FIXED_NOREPLACE there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

int main(void)
{
	char *wanted = (char *)0xf800000000;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	if (mmap(wanted, 4096, PROT_NONE, flags, -1, 0) != wanted)
		return 9;
	char *got = mmap(wanted, 64 << 20, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
	printf("%s\n", got == MAP_FAILED ? strerror(errno) : got == wanted ? "replaced" : "moved");
	return 0;
}
