#include "address_map.h"
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *shown(const struct address_map *map)
{
	static char text[1024];
	size_t length = 0;
	*text = 0;
	for (size_t i = 0; i < map->count; i++)
		length += (size_t)snprintf(text + length, sizeof text - length, "%llx-%llx ",
			(unsigned long long)map->taken[i].start,
			(unsigned long long)map->taken[i].end);
	return text;
}

static void parse(struct address_map *map, const char *maps, uint64_t stack_limit)
{
	char *text = strdup(maps);
	CHECK(text);
	address_map_parse(map, text, stack_limit);
	free(text);
}

static void ranges_that_touch_are_joined(void)
{
	struct address_map *map = address_map_new();
	address_map_insert(map, 0x3000, 0x4000);
	address_map_insert(map, 0x1000, 0x2000);
	CHECK(!strcmp(shown(map), "1000-2000 3000-4000 "));
	address_map_insert(map, 0x2000, 0x3000);
	CHECK(!strcmp(shown(map), "1000-4000 "));
	address_map_release(map);
}

static void a_hole_splits_a_range(void)
{
	struct address_map *map = address_map_new();
	address_map_insert(map, 0x1000, 0x9000);
	address_map_remove(map, 0x3000, 0x4000);
	CHECK(!strcmp(shown(map), "1000-3000 4000-9000 "));
	CHECK(address_map_overlaps(map, 0x2000, 0x5000) &&
		!address_map_contains(map, 0x2000, 0x5000));
	CHECK(!address_map_overlaps(map, 0x3000, 0x4000) &&
		address_map_contains(map, 0x4000, 0x9000));
	address_map_remove(map, 0, 0x10000);
	CHECK(map->count == 0);
	address_map_remove(map, 0, 0x10000); /* nothing is left */
	address_map_release(map);
}

static void a_copy_of_an_empty_map_is_empty(void)
{
	struct address_map *map = address_map_new(), *copy = address_map_copy(map);
	CHECK(copy->count == 0);
	address_map_insert(copy, 0x1000, 0x2000);
	CHECK(map->count == 0 && copy->count == 1);
	address_map_release(map);
	address_map_release(copy);
}

static void proc_maps_are_parsed(void)
{
	struct address_map *map = address_map_new();
	parse(map,
		"00400000-00401000 r--p 00000000 08:01 42   /bin/with space\n"
		"00401000-00402000 r-xp 00001000 08:01 42   /bin/with space\n"
		"nonsense\n"
		"2000-1000 ---p 00000000 00:00 0\n"
		"7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0   [stack]\n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]\n"
		"7000-8000 a line without an end",
		8 << 20);
	CHECK(!strcmp(shown(map), "400000-402000 7fffff7ff000-7ffffffff000 "
				  "ffffffffff600000-ffffffffff601000 "));
	parse(map, "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0   [stack]\n", UINT64_MAX);
	CHECK(!strcmp(shown(map), "7ffffffde000-7ffffffff000 "));
	parse(map, "", 0);
	CHECK(map->count == 0);
	address_map_release(map);
}

static void the_maps_of_this_process_are_read(void)
{
	struct address_map *map = address_map_new();
	uint64_t here = (uint64_t)(uintptr_t)map;
	CHECK(address_map_read(map, getpid()) == 0 && !map->stale);
	CHECK(address_map_contains(map, here, here + sizeof *map));
	CHECK(address_map_read(map, -1) < 0);
	address_map_release(map);
}

static void downward_the_highest_free_place_is_found(void)
{
	struct address_map *map = address_map_new();
	uint64_t limit = 1ULL << 39;
	map->base = limit - 0x10000000;
	CHECK(address_map_find(map, 0x1000, limit) == map->base - 0x1000);
	address_map_insert(map, map->base - 0x3000, map->base - 0x1000);
	CHECK(address_map_find(map, 0x1000, limit) == map->base - 0x1000);
	CHECK(address_map_find(map, 0x2000, limit) == map->base - 0x5000);
	address_map_insert(map, 0x10000, map->base); /* full: it searches upward from a third */
	CHECK(address_map_find(map, 0x1000, limit) == map->base);
	CHECK(address_map_find(map, 0x20000000, limit) == 0);
	address_map_release(map);
}

static void upward_the_lowest_free_place_is_found(void)
{
	struct address_map *map = address_map_new();
	map->upward = true;
	map->base = 0x40000000;
	CHECK(address_map_find(map, 0x1000, 1ULL << 39) == 0x40000000);
	address_map_insert(map, 0x3ffff000, 0x40001000);
	address_map_insert(map, 0x40002000, 0x40003000);
	CHECK(address_map_find(map, 0x1000, 1ULL << 39) == 0x40001000);
	CHECK(address_map_find(map, 0x2000, 1ULL << 39) == 0x40003000);
	address_map_insert(map, 0x40003000, 0xfffffffffffff000); /* above the limit as well */
	CHECK(address_map_find(map, 0x2000, 1ULL << 39) == 0);
	CHECK(address_map_find(map, UINT64_MAX, 1ULL << 39) == 0);
	address_map_release(map);
}

static void pages_have_the_size_of_the_kernel(void)
{
	struct address_map *map = address_map_new(), *copy;
	CHECK(map->page == (uint64_t)sysconf(_SC_PAGESIZE));
	CHECK(address_map_page_below(map, map->page + 1) == map->page);
	CHECK(address_map_page_above(map, map->page + 1) == 2 * map->page);
	map->page = 0x10000;
	CHECK(address_map_page_below(map, 0x1ffff) == 0x10000);
	CHECK(address_map_page_above(map, 0x10001) == 0x20000);
	/* a stack that may grow to 2 MiB and half a page */
	parse(map, "7fffffdf0000-7ffffff00000 rw-p 00000000 00:00 0   [stack]\n", 0x208000);
	CHECK(!strcmp(shown(map), "7fffffd00000-7ffffff00000 "));
	/* a third of 39 bits is not a multiple of 64 KiB: it is rounded up */
	uint64_t limit = 1ULL << 39, third = 0x2aaaab0000;
	address_map_insert(map, 0x10000, limit);
	address_map_remove(map, 0x2aaaaa0000, 0x2aaaac0000);
	map->base = 0x100000;
	CHECK(address_map_find(map, 0x10000, limit) == third);
	copy = address_map_copy(map);
	CHECK(copy->page == 0x10000);
	address_map_choose_layout(map, getpid(), limit + 0x8000);
	CHECK(map->base % 0x10000 == 0);
	address_map_release(copy);
	address_map_release(map);
}

int main(void)
{
	pages_have_the_size_of_the_kernel();
	ranges_that_touch_are_joined();
	a_hole_splits_a_range();
	a_copy_of_an_empty_map_is_empty();
	proc_maps_are_parsed();
	the_maps_of_this_process_are_read();
	downward_the_highest_free_place_is_found();
	upward_the_lowest_free_place_is_found();
	return 0;
}
