/* Touches every second page of a reservation: in UML each is a mapping of the host's process. */
#define _GNU_SOURCE
#include <sys/mman.h>

#define PAGES 90000L
#define PAGE 4096

int main(void)
{
	char *at = mmap(0, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return 2;
	for (long i = 0; i < PAGES; i++)
		at[2 * i * PAGE] = 1;
	return 0;
}
