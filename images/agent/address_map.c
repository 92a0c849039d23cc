#define _GNU_SOURCE
#include "address_map.h"

#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOWEST 0x10000ULL      /* the usual vm.mmap_min_addr */
#define MIN_GAP (128ULL << 20) /* bytes kept for the stack at the top: mm/util.c */
#define UML_BASE 0x40000000ULL /* arch/um: TASK_UNMAPPED_BASE */

struct address_map *address_map_new(void)
{
	struct address_map *map = xcalloc(1, sizeof *map);
	map->users = 1;
	map->page = (uint64_t)getpagesize();
	map->stale = true;
	return map;
}

struct address_map *address_map_copy(const struct address_map *map)
{
	struct address_map *copy = xmalloc(sizeof *copy);
	*copy = *map;
	copy->users = 1;
	copy->room = map->count;
	copy->taken = NULL;
	if (map->count) {
		copy->taken = xreallocarray(NULL, map->count, sizeof *copy->taken);
		memcpy(copy->taken, map->taken, map->count * sizeof *copy->taken);
	}
	return copy;
}

void address_map_release(struct address_map *map)
{
	if (--map->users)
		return;
	free(map->taken);
	free(map);
}

/* The index of the first range that ends behind ADDRESS. */
static size_t first_after(const struct address_map *map, uint64_t address)
{
	size_t low = 0, high = map->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (map->taken[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Replace the ranges from index AT up to index END by others. */
static void splice(
	struct address_map *map, size_t at, size_t end, const struct range *ranges, size_t count)
{
	size_t total = map->count - (end - at) + count;
	if (total > map->room) {
		map->room = total * 2 + 64;
		map->taken = xreallocarray(map->taken, map->room, sizeof *map->taken);
	}
	if (map->count > end)
		memmove(map->taken + at + count, map->taken + end,
			(map->count - end) * sizeof *map->taken);
	if (count)
		memcpy(map->taken + at, ranges, count * sizeof *ranges);
	map->count = total;
}

void address_map_insert(struct address_map *map, uint64_t start, uint64_t end)
{
	struct range all = {start, end};
	size_t at = first_after(map, start ? start - 1 : 0), last = at;
	for (; last < map->count && map->taken[last].start <= end; last++) {
		if (map->taken[last].start < all.start)
			all.start = map->taken[last].start;
		if (map->taken[last].end > all.end)
			all.end = map->taken[last].end;
	}
	splice(map, at, last, &all, 1);
}

void address_map_remove(struct address_map *map, uint64_t start, uint64_t end)
{
	struct range rest[2];
	size_t at = first_after(map, start), last = at, count = 0;
	for (; last < map->count && map->taken[last].start < end; last++) {
		struct range each = map->taken[last];
		if (each.start < start)
			rest[count++] = (struct range){each.start, start};
		if (each.end > end)
			rest[count++] = (struct range){end, each.end};
	}
	splice(map, at, last, rest, count);
}

bool address_map_overlaps(const struct address_map *map, uint64_t start, uint64_t end)
{
	size_t at = first_after(map, start);
	return at < map->count && map->taken[at].start < end;
}

bool address_map_contains(const struct address_map *map, uint64_t start, uint64_t end)
{
	size_t at = first_after(map, start);
	return at < map->count && map->taken[at].start <= start && end <= map->taken[at].end;
}

uint64_t address_map_page_below(const struct address_map *map, uint64_t address)
{
	return address & ~(map->page - 1);
}

uint64_t address_map_page_above(const struct address_map *map, uint64_t address)
{
	return address_map_page_below(map, address + map->page - 1);
}

/* The lowest address of a stack that may grow to LIMIT bytes. */
static uint64_t stack_start(
	const struct address_map *map, uint64_t start, uint64_t end, uint64_t limit)
{
	if (limit >= start || limit <= end - start)
		return start;
	return end - address_map_page_below(map, limit);
}

void address_map_parse(struct address_map *map, char *text, uint64_t stack_limit)
{
	map->count = 0;
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		unsigned long long start, stop;
		*end = 0;
		if (sscanf(line, "%llx-%llx", &start, &stop) != 2 || start >= stop)
			continue;
		if (strstr(line, "[stack]"))
			start = stack_start(map, start, stop, stack_limit);
		address_map_insert(map, start, stop);
	}
}

int address_map_read(struct address_map *map, pid_t pid)
{
	struct rlimit stack = {MIN_GAP, MIN_GAP};
	char *maps = read_process_file(pid, "maps", NULL);
	if (!maps)
		return -errno;
	if (!*maps) { /* it is ending, and has no address space any more */
		free(maps);
		return -ESRCH;
	}
	prlimit(pid, RLIMIT_STACK, NULL, &stack);
	address_map_parse(map, maps, stack.rlim_cur);
	free(maps);
	map->stale = false;
	return 0;
}

/* Does this kernel place from the bottom, as UML does? Two mappings of our own show it. */
static bool places_upward(void)
{
	static int known = -1;
	if (known < 0) {
		size_t page = (size_t)getpagesize();
		int flags = MAP_PRIVATE | MAP_ANONYMOUS;
		void *first = mmap(NULL, page, PROT_NONE, flags, -1, 0);
		void *second = mmap(NULL, page, PROT_NONE, flags, -1, 0);
		known = second > first;
		munmap(first, page);
		munmap(second, page);
	}
	return known;
}

static bool has_legacy_layout(pid_t pid)
{
	char *persona = read_process_file(pid, "personality", NULL);
	bool legacy = persona && strtoul(persona, NULL, 16) & ADDR_COMPAT_LAYOUT;
	free(persona);
	return legacy;
}

/* From the bottom as in UML, if this kernel does so or personality(2) requests it; otherwise
 * downward from below the stack, as on arm64 and riscv64 (mm/util.c: mmap_base), not randomised. */
void address_map_choose_layout(struct address_map *map, pid_t pid, uint64_t limit)
{
	struct rlimit stack = {0, 0};
	prlimit(pid, RLIMIT_STACK, NULL, &stack);
	map->upward = places_upward() || stack.rlim_cur == RLIM_INFINITY || has_legacy_layout(pid);
	uint64_t third = address_map_page_above(map, limit / 3), most = limit / 6 * 5;
	uint64_t gap = stack.rlim_cur;
	if (gap < MIN_GAP)
		gap = MIN_GAP;
	else if (gap > most)
		gap = most;
	if (map->upward)
		map->base = UML_BASE < third ? UML_BASE : third;
	else
		map->base = address_map_page_below(map, limit - gap);
}

static uint64_t find_upward(
	const struct address_map *map, uint64_t floor, uint64_t length, uint64_t limit)
{
	if (length > limit)
		return 0;
	for (size_t at = first_after(map, floor); at < map->count; at++) {
		if (floor > limit - length || map->taken[at].start >= floor + length)
			break;
		floor = map->taken[at].end;
	}
	return floor <= limit - length ? floor : 0;
}

uint64_t address_map_find(const struct address_map *map, uint64_t length, uint64_t limit)
{
	if (map->upward)
		return find_upward(map, map->base, length, limit);
	uint64_t top = map->base;
	for (size_t at = map->count; at-- > 0 && top >= length + LOWEST;) {
		if (map->taken[at].start >= top)
			continue;
		if (map->taken[at].end <= top - length)
			break;
		top = map->taken[at].start;
	}
	if (top >= length + LOWEST)
		return top - length;
	/* no place below the stack: the kernel then searches upward (mm/mmap.c) */
	return find_upward(map, address_map_page_above(map, limit / 3), length, limit);
}
