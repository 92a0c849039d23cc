/* What is mapped where in the address space of a traced program, for whoever has to find a free
 * place in it (ceiling.c).
 *
 * Read from /proc/PID/maps after an exec, and from then on kept by the calls that are seen. It may
 * say too much or too little (a grown heap or stack, a segment detached): too much costs a place,
 * too little is told by MAP_FIXED_NOREPLACE, and then it is read again. */
#define _GNU_SOURCE
#include "bend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>

#define LOWEST 0x10000ULL          /* vm.mmap_min_addr as it is nearly everywhere */
#define GAP (128ULL << 20)         /* at least so much is left to the stack at the top: mm/util.c, MIN_GAP */
#define UML_BASE 0x40000000ULL     /* arch/um: TASK_UNMAPPED_BASE */

struct space *space_new(void)
{
	struct space *space = calloc(1, sizeof *space);
	space->users = 1;
	space->stale = 1;
	return space;
}

struct space *space_copy(const struct space *space)
{
	struct space *copy = malloc(sizeof *copy);
	*copy = *space;
	copy->users = 1;
	copy->taken = malloc((copy->room + 1) * sizeof *copy->taken);
	memcpy(copy->taken, space->taken, copy->count * sizeof *copy->taken);
	return copy;
}

void space_leave(struct space *space)
{
	if (--space->users)
		return;
	free(space->taken);
	free(space);
}

/* The first range that ends behind `address`. */
static size_t first_after(const struct space *space, uint64_t address)
{
	size_t low = 0, high = space->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (space->taken[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Put `fresh` ranges in place of those from `at` up to `end`. */
static void splice(struct space *space, size_t at, size_t end, const struct range *fresh, size_t count)
{
	size_t total = space->count - (end - at) + count;
	if (total > space->room) {
		space->room = total * 2 + 64;
		space->taken = realloc(space->taken, space->room * sizeof *space->taken);
	}
	memmove(space->taken + at + count, space->taken + end, (space->count - end) * sizeof *space->taken);
	memcpy(space->taken + at, fresh, count * sizeof *fresh);
	space->count = total;
}

void space_take(struct space *space, uint64_t start, uint64_t end)
{
	struct range all = { start, end };
	size_t at = first_after(space, start ? start - 1 : 0), last = at;
	for (; last < space->count && space->taken[last].start <= end; last++) {
		if (space->taken[last].start < all.start)
			all.start = space->taken[last].start;
		if (space->taken[last].end > all.end)
			all.end = space->taken[last].end;
	}
	splice(space, at, last, &all, 1);
}

void space_give(struct space *space, uint64_t start, uint64_t end)
{
	struct range rest[2];
	size_t at = first_after(space, start), last = at, count = 0;
	for (; last < space->count && space->taken[last].start < end; last++) {
		struct range each = space->taken[last];
		if (each.start < start)
			rest[count++] = (struct range) { each.start, start };
		if (each.end > end)
			rest[count++] = (struct range) { end, each.end };
	}
	splice(space, at, last, rest, count);
}

int space_meets(const struct space *space, uint64_t start, uint64_t end)
{
	size_t at = first_after(space, start);
	return at < space->count && space->taken[at].start < end;
}

int space_holds(const struct space *space, uint64_t start, uint64_t end)
{
	size_t at = first_after(space, start);
	return at < space->count && space->taken[at].start <= start && end <= space->taken[at].end;
}

/* Read it anew; 0 if its maps cannot be read. */
int space_read(struct space *space, pid_t pid)
{
	char path[64];
	struct rlimit stack = { GAP, GAP };
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	char *maps = slurp(path, NULL);
	if (!maps || !*maps) {
		free(maps);
		return 0;
	}
	prlimit(pid, RLIMIT_STACK, NULL, &stack);
	space->count = 0;
	for (char *line = maps, *end; *line; line = end + 1) {
		unsigned long long start, stop;
		end = strchr(line, '\n');
		if (!end)
			break;
		*end = 0;
		if (sscanf(line, "%llx-%llx", &start, &stop) != 2)
			continue;
		if (strstr(line, "[stack]") && stack.rlim_cur < start) /* where it may still grow to */
			start = stop - (stack.rlim_cur > stop - start ? stack.rlim_cur & ~(PAGE - 1) : stop - start);
		space_take(space, start, stop);
	}
	free(maps);
	space->stale = 0;
	return 1;
}

/* Does this kernel place from the bottom, as UML does? Two mappings of our own tell. */
static int upward_here(void)
{
	static int known = -1;
	if (known < 0) {
		void *one = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		void *two = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		known = two > one;
		munmap(one, PAGE), munmap(two, PAGE);
	}
	return known;
}

/* Where the kernel would place, if the address space ended at `ceiling`: from the bottom as UML
 * does, if this kernel does so or personality(2) asks for it; else downward from below the stack,
 * as arm64 and riscv64 do (mm/util.c: mmap_base), without chance. */
void space_lay_out(struct space *space, pid_t pid, uint64_t ceiling)
{
	char path[64];
	struct rlimit stack = { 0, 0 };
	snprintf(path, sizeof path, "/proc/%d/personality", (int)pid);
	char *personality = slurp(path, NULL);
	prlimit(pid, RLIMIT_STACK, NULL, &stack);
	space->upward = upward_here() || stack.rlim_cur == RLIM_INFINITY ||
	                (personality && strtoul(personality, NULL, 16) & ADDR_COMPAT_LAYOUT);
	free(personality);
	uint64_t third = (ceiling / 3 + PAGE - 1) & ~(PAGE - 1), most = ceiling / 6 * 5;
	uint64_t gap = stack.rlim_cur < GAP ? GAP : stack.rlim_cur > most ? most : stack.rlim_cur;
	space->base = space->upward ? (UML_BASE < third ? UML_BASE : third) : (ceiling - gap) & ~(PAGE - 1);
}

static uint64_t lowest_from(const struct space *space, uint64_t floor, uint64_t length, uint64_t ceiling)
{
	for (size_t at = first_after(space, floor); at < space->count; at++) {
		if (space->taken[at].start >= floor + length)
			break;
		floor = space->taken[at].end;
	}
	return floor + length <= ceiling ? floor : 0;
}

/* A free place below the ceiling where the kernel would put `length` bytes; 0: there is none. */
uint64_t space_find(const struct space *space, uint64_t length, uint64_t ceiling)
{
	if (space->upward)
		return lowest_from(space, space->base, length, ceiling);
	uint64_t top = space->base;
	for (size_t at = space->count; at-- > 0 && top >= length + LOWEST;) {
		if (space->taken[at].start >= top)
			continue;
		if (space->taken[at].end <= top - length)
			break;
		top = space->taken[at].start;
	}
	if (top >= length + LOWEST)
		return top - length;
	return lowest_from(space, (ceiling / 3 + PAGE - 1) & ~(PAGE - 1), length, ceiling);
}
