/* Maps and protects memory without end: maps and trace must be of one moment. */
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	for (;;) {
		char *area = mmap(0, 256 << 20, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (long i = 0; i < 300; i++) {
			mprotect(area + i * 4096, 4096, 3);
			area[i * 4096] = 1;
			usleep(300);
		}
		munmap(area, 256 << 20);
	}
}
