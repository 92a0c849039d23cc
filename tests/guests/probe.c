/* Looks for a place for 128 MiB without end: a program that is refused all memory and still tries.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>

int main(void)
{
	uintptr_t at = 1UL << 30;
	while (mmap((void *)at, 128 << 20, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		       0) == MAP_FAILED)
		at = at > 64 << 20 ? at - (4 << 20) : 1UL << 30;
	return 0;
}
