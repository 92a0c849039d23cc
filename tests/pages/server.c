/* The server of the pages: it needs its heap at one address, and says when it is ready. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAP ((void *)0xf800000000UL)

int main(int count, char **arguments) {
    void *heap = mmap(HEAP, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (heap != HEAP) {
        fprintf(stderr, "server: cannot reserve heap at %p\n", HEAP);
        return 1;
    }
    puts("listening");
    fflush(stdout);
    if (count == 1 || strcmp(arguments[1], "--check")) pause();
    return 0;
}
