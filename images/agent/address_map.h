/* A map of an address space: which ranges are mapped, and where the kernel would place a mapping.
 *
 * The map is read from /proc/PID/maps after an exec, and then updated by the calls that are traced.
 * It can differ from the kernel: the heap or the stack grows, a segment is detached. A range too
 * many costs a place. A range too few is reported by MAP_FIXED_NOREPLACE; then the map is read
 * again. */
#ifndef FOOTHOLD_ADDRESS_MAP_H
#define FOOTHOLD_ADDRESS_MAP_H

#include "range.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct address_map {
	int users;           /* threads that share the address space */
	uint64_t page;       /* bytes of a page of this kernel */
	struct range *taken; /* in order; they neither overlap nor touch */
	size_t count, room;
	bool stale;    /* it may differ from the kernel */
	bool upward;   /* the kernel places from the bottom */
	uint64_t base; /* where placing begins; if it goes downward, the end of the highest place */
};

struct address_map *address_map_new(void);
struct address_map *address_map_copy(const struct address_map *map);
/* Give up one use; the last one frees the map. */
void address_map_release(struct address_map *map);

/* Replace the ranges by those of a text in the format of /proc/PID/maps, which is modified. The
 * stack counts with the size to which it may grow, STACK_LIMIT bytes. */
void address_map_parse(struct address_map *map, char *text, uint64_t stack_limit);
/* Read the maps of a process. Returns 0 or a negative errno. */
int address_map_read(struct address_map *map, pid_t pid);
/* Decide where the kernel would place mappings of this process if its task size were LIMIT. */
void address_map_choose_layout(struct address_map *map, pid_t pid, uint64_t limit);

/* The start of the page that contains ADDRESS; the first page that begins at ADDRESS or above. */
uint64_t address_map_page_below(const struct address_map *map, uint64_t address);
uint64_t address_map_page_above(const struct address_map *map, uint64_t address);

/* Ranges have START < END. */
void address_map_insert(struct address_map *map, uint64_t start, uint64_t end);
void address_map_remove(struct address_map *map, uint64_t start, uint64_t end);
/* Is a part of the range mapped? */
bool address_map_overlaps(const struct address_map *map, uint64_t start, uint64_t end);
/* Is all of the range mapped? */
bool address_map_contains(const struct address_map *map, uint64_t start, uint64_t end);
/* The free place below LIMIT where the kernel would put LENGTH bytes; 0: none. */
uint64_t address_map_find(const struct address_map *map, uint64_t length, uint64_t limit);

#endif
