/* Sets READ_IMPLIES_EXEC between its reservations: readable memory is then executable. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/personality.h>

#define MIB (1UL << 20)

static char *reserve(int protection)
{
	return mmap(0, 64 * MIB, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int main(void)
{
	char *before = reserve(PROT_READ);
	if (personality(READ_IMPLIES_EXEC) == -1)
		return 2;
	char *after = reserve(PROT_READ | PROT_WRITE), *later = reserve(PROT_NONE);
	if (before == MAP_FAILED || after == MAP_FAILED || later == MAP_FAILED)
		return 3;
	return mprotect(later, 32 * MIB, PROT_READ);
}
