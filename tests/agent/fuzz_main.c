/* A small fuzzer for compilers without libFuzzer: mutates the seeds of a target, always in the same
 * order, and runs the target on the results.
 *
 *   TARGET SECONDS      fuzz as long; a crash prints the input in hexadecimal
 *   TARGET --seeds DIR  write the seeds into files, for libFuzzer */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROOM 8192    /* bytes of an input */
#define MOST_KEPT 64 /* inputs to mutate */

void __sanitizer_set_death_callback(void (*callback)(void));

static struct input {
	uint8_t bytes[ROOM];
	size_t size;
} kept[MOST_KEPT], now;

static uint64_t state = 0x9e3779b97f4a7c15;

/* xorshift64 */
static size_t random_below(size_t bound)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return bound ? (size_t)(state % bound) : 0;
}

static void print_input(void)
{
	fprintf(stderr, "input of %zu bytes: ", now.size);
	for (size_t i = 0; i < now.size; i++)
		fprintf(stderr, "%02x", now.bytes[i]);
	fprintf(stderr, "\n");
}

static void set_byte(void)
{
	static const uint8_t interesting[] = {
		0, 1, 0x7f, 0x80, 0xff, '\n', ' ', '-', '=', ':', '0', '7', '9', 'f', 'x', 'i'};
	if (now.size)
		now.bytes[random_below(now.size)] = interesting[random_below(sizeof interesting)];
}

static void flip_bit(void)
{
	if (now.size)
		now.bytes[random_below(now.size)] ^= (uint8_t)(1 << random_below(8));
}

static void delete_block(void)
{
	size_t at = random_below(now.size), length = random_below(now.size - at + 1);
	memmove(now.bytes + at, now.bytes + at + length, now.size - at - length);
	now.size -= length;
}

/* Insert a block of a kept input. */
static void insert_block(size_t count)
{
	const struct input *from = &kept[random_below(count)];
	size_t start = random_below(from->size), length = random_below(from->size - start + 1);
	size_t at = random_below(now.size + 1);
	if (now.size + length > ROOM)
		return;
	memmove(now.bytes + at + length, now.bytes + at, now.size - at);
	memcpy(now.bytes + at, from->bytes + start, length);
	now.size += length;
}

static void mutate(size_t count)
{
	now = kept[random_below(count)];
	for (size_t left = 1 + random_below(8); left > 0; left--)
		switch (random_below(5)) {
		case 0:
			set_byte();
			break;
		case 1:
			delete_block();
			break;
		case 2:
			insert_block(count);
			break;
		default:
			flip_bit();
		}
}

static int write_seeds(const char *directory)
{
	static uint8_t bytes[ROOM];
	size_t size;
	for (unsigned i = 0; (size = fuzz_seed(i, bytes, ROOM)) > 0; i++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%u", directory, i);
		FILE *file = fopen(path, "wb");
		if (!file || fwrite(bytes, 1, size, file) != size || fclose(file))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t count = 0, runs = 0;
	if (argc == 3 && !strcmp(argv[1], "--seeds"))
		return write_seeds(argv[2]);
	if (argc != 2)
		return 2;
	__sanitizer_set_death_callback(print_input);
	while (count < MOST_KEPT / 2 &&
		(kept[count].size = fuzz_seed((unsigned)count, kept[count].bytes, ROOM)) > 0)
		count++;
	clock_t until = clock() + (clock_t)(atof(argv[1]) * CLOCKS_PER_SEC);
	for (; clock() < until; runs++) {
		mutate(count);
		LLVMFuzzerTestOneInput(now.bytes, now.size);
		if (random_below(1000) == 0) { /* drift away from the seeds */
			size_t place = MOST_KEPT / 2 + random_below(MOST_KEPT / 2);
			if (count < MOST_KEPT)
				place = count++;
			kept[place] = now;
		}
	}
	printf("%zu runs\n", runs);
	return runs == 0;
}
