/* Protects a range with a hole: the kernel protects what is before the hole, and fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#define MIB (1UL << 20)

int main(void)
{
	char *at = mmap((void *)0x1000000000, 256 * MIB, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED || munmap(at + 96 * MIB, MIB))
		return 2;
	return !mprotect(at, 256 * MIB, PROT_READ) || errno != ENOMEM;
}
