/* Prints how many bits the address of its 64 MiB has: 45 where the kernel follows the hint. */
#include <stdio.h>
#include <sys/mman.h>

int main(void) {
    char *block = mmap((void *)0x100000000000, 64 << 20, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int bits = 0;
    for (unsigned long left = (unsigned long)block; left; left >>= 1)
        bits++;
    printf("reserved\n%d bits\n", bits);
    return 0;
}
