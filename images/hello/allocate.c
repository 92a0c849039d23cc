/* What a C program asks of its allocator, whichever that is: small and large blocks, by two threads. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 16
#define LARGEST (8 << 20)

static void *allocate(void *failed)
{
	for (size_t size = SMALLEST; size <= LARGEST; size *= 2) {
		char *block = malloc(size);
		if (!block) {
			*(size_t *)failed = size;
			return NULL;
		}
		memset(block, 1, size);
		free(block);
	}
	return NULL;
}

int main(void)
{
	pthread_t thread;
	size_t here = 0, there = 0;
	if (pthread_create(&thread, NULL, allocate, &there)) {
		fprintf(stderr, "no thread\n");
		return 1;
	}
	allocate(&here);
	pthread_join(thread, NULL);
	if (here || there) {
		fprintf(stderr, "no block of %zu bytes\n", here ? here : there);
		return 1;
	}
	puts("allocated");
	return 0;
}
