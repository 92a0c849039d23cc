/* A program of the pages whose output is the same everywhere. */
#include <stdio.h>

int main(void) {
    unsigned sum = 0;
    for (unsigned i = 0; i < 1000000; i++) sum = sum * 31 + i;
    printf("%08x\n", sum);
    return 0;
}
