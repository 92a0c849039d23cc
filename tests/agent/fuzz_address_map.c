/* The first byte chooses: parse the rest as /proc/PID/maps, or take it as operations on a map of
 * 256 pages and compare each result with a model of one flag per page. */
#include "address_map.h"
#include "check.h"
#include "fuzz.h"

#include <string.h>

#define PAGES 256

static void check_order(const struct address_map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		CHECK(map->taken[i].start < map->taken[i].end);
		CHECK(i == 0 || map->taken[i - 1].end < map->taken[i].start);
	}
}

static void fuzz_parser(const uint8_t *data, size_t size)
{
	struct address_map *map = address_map_new();
	char *text = malloc(size + 1);
	CHECK(text);
	memcpy(text, data, size);
	text[size] = 0;
	address_map_parse(map, text, size % 2 ? UINT64_MAX : 8 << 20);
	check_order(map);
	uint64_t limit = 1ULL << 47, place = address_map_find(map, (size + 1) * map->page, limit);
	CHECK(place <= limit);
	free(text);
	address_map_release(map);
}

static int count(const bool *model, size_t start, size_t end)
{
	int taken = 0;
	for (size_t i = start; i < end; i++)
		taken += model[i];
	return taken;
}

static void fuzz_operations(const uint8_t *data, size_t size)
{
	bool model[PAGES] = {false};
	struct address_map *map = address_map_new();
	for (size_t at = 0; at + 3 <= size; at += 3) {
		size_t start = data[at + 1], end = start + 1 + data[at + 2] % 16u;
		if (end > PAGES)
			end = PAGES;
		uint64_t from = start * map->page, to = end * map->page;
		if (data[at] % 2)
			address_map_insert(map, from, to);
		else
			address_map_remove(map, from, to);
		memset(model + start, data[at] % 2, end - start);
		check_order(map);
		size_t low = start / 2, high = low + end - start;
		int taken = count(model, low, high);
		CHECK(address_map_overlaps(map, low * map->page, high * map->page) == (taken > 0));
		CHECK(address_map_contains(map, low * map->page, high * map->page) ==
			(taken == (int)(high - low)));
		if (data[at] % 8 == 0) {
			struct address_map *copy = address_map_copy(map);
			address_map_release(map);
			map = copy;
		}
	}
	uint64_t total = 0;
	for (size_t i = 0; i < map->count; i++)
		total += map->taken[i].end - map->taken[i].start;
	CHECK(total == (uint64_t)count(model, 0, PAGES) * map->page);
	address_map_release(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] % 2)
		fuzz_parser(data + 1, size - 1);
	else
		fuzz_operations(data + 1, size - 1);
	return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *buffer, size_t room)
{
	static const char maps[] =
		"\1"
		"00400000-00401000 r--p 00000000 08:01 42   /bin/cat\n"
		"7f1200000000-7f1200021000 rw-p 00000000 00:00 0\n"
		"7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0   [stack]\n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]\n";
	if (number > 1 || room < sizeof maps)
		return 0;
	if (number == 0) {
		memcpy(buffer, maps, sizeof maps - 1);
		return sizeof maps - 1;
	}
	for (size_t i = 0; i < 91; i++)
		buffer[i] = (uint8_t)(i * 37 % 251);
	buffer[0] = 0;
	return 91;
}
