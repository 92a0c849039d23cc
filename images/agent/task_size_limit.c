#define _GNU_SOURCE
#include "task_size_limit.h"

#include "mman.h"

#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define MOST_ATTEMPTS 8

/* Read the map again, and add what calls in progress are about to map. */
static bool refresh(const struct task_size *size, const struct thread *thread)
{
	if (address_map_read(thread->map, thread->tid) < 0)
		return false;
	for (const struct thread *other = size->threads->first; other; other = other->next)
		if (other != thread && other->map == thread->map && other->claim.end)
			address_map_insert(thread->map, other->claim.start, other->claim.end);
	return true;
}

static void claim_range(struct thread *thread, uint64_t start, uint64_t length)
{
	thread->claim = (struct range){start, start + length};
	address_map_insert(thread->map, start, start + length);
}

/* The place of a new mapping: the hint, if that is free, or the kernel's choice; 0: none. */
static uint64_t choose(
	const struct task_size *size, struct thread *thread, uint64_t hint, uint64_t length)
{
	if (thread->map->stale)
		refresh(size, thread);
	for (int fresh = 0; fresh < 2; fresh++) {
		uint64_t place = 0;
		if (hint && hint <= size->limit - length &&
			!address_map_overlaps(thread->map, hint, hint + length))
			place = hint;
		if (!place)
			place = address_map_find(thread->map, length, size->limit);
		if (place) {
			claim_range(thread, place, length);
			return place;
		}
		if (!refresh(size, thread))
			break;
	}
	return 0;
}

static int enter_mmap(const struct task_size *size, struct thread *thread)
{
	uint64_t *arguments = thread->issued.arguments;
	uint64_t address = arguments[0], length = address_map_page_above(thread->map, arguments[1]);
	uint64_t flags = arguments[3];
	if (!arguments[1])
		return 0; /* the kernel refuses it */
	if (!length || length > size->limit)
		return ENOMEM;
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		bool beyond = address > size->limit - length;
		if (beyond && (flags & MAP_FIXED_NOREPLACE || !address_map_contains(thread->map,
								      address, address + length)))
			return ENOMEM;
		if (address % thread->map->page)
			return 0; /* the kernel refuses it */
		claim_range(thread, address, length);
		return 0;
	}
	if (flags & MAP_32BIT)
		return 0; /* the kernel places it below 2 GiB */
	arguments[0] = choose(size, thread, address_map_page_below(thread->map, address), length);
	/* MAP_SHARED_VALIDATE refuses that flag: there the place can only be a hint */
	if ((flags & MAP_TYPE) != MAP_SHARED_VALIDATE)
		arguments[3] |= MAP_FIXED_NOREPLACE;
	return arguments[0] ? 0 : ENOMEM;
}

/* It grows or is copied to another place. */
static int move_mapping(const struct task_size *size, struct thread *thread)
{
	uint64_t *arguments = thread->issued.arguments;
	refresh(size, thread); /* MREMAP_FIXED replaces mappings: be sure that the place is free */
	arguments[4] = choose(size, thread, 0, address_map_page_above(thread->map, arguments[2]));
	arguments[3] = thread->faulted.arguments[3] | MREMAP_MAYMOVE | MREMAP_FIXED;
	return arguments[4] ? 0 : ENOMEM;
}

static int enter_mremap(const struct task_size *size, struct thread *thread)
{
	uint64_t *arguments = thread->issued.arguments;
	uint64_t start = arguments[0];
	uint64_t before = address_map_page_above(thread->map, arguments[1]),
		 after = address_map_page_above(thread->map, arguments[2]);
	uint64_t flags = arguments[3], target = arguments[4];
	if (start % thread->map->page || !after)
		return 0; /* the kernel refuses it */
	if (flags & MREMAP_FIXED) {
		if (after > size->limit)
			return EINVAL;
		if (target > size->limit - after &&
			!address_map_contains(thread->map, target, target + after))
			return EINVAL;
		claim_range(thread, target, after);
		return 0;
	}
	if (after > size->limit)
		return ENOMEM;
	if (flags & MREMAP_DONTUNMAP || !before)
		return flags & MREMAP_MAYMOVE ? move_mapping(size, thread) : 0;
	if (after <= before)
		return 0;
	if (start < size->limit && start > size->limit - after)
		return flags & MREMAP_MAYMOVE ? move_mapping(size, thread) : ENOMEM;
	arguments[3] &= ~(uint64_t)MREMAP_MAYMOVE; /* first try to grow in place */
	return 0;
}

static int enter_shmat(const struct task_size *size, struct thread *thread)
{
	struct shmid_ds segment;
	uint64_t *arguments = thread->issued.arguments;
	if (shmctl((int)arguments[0], IPC_STAT, &segment) < 0)
		return 0; /* the kernel refuses it */
	uint64_t length = address_map_page_above(thread->map, segment.shm_segsz);
	if (length > size->limit || arguments[1] > size->limit - length)
		return ENOMEM;
	if (!arguments[1])
		arguments[1] = choose(size, thread, 0, length);
	else
		claim_range(thread, arguments[1], length);
	return arguments[1] ? 0 : ENOMEM;
}

int task_size_entry(const struct task_size *size, struct thread *thread)
{
	const uint64_t *arguments = thread->issued.arguments;
	long number = thread->issued.number;
	thread->attempts = 0;
	if (thread->map->stale && !refresh(size, thread))
		return 0; /* the program has not started yet, or it is ending */
	if (number == SYS_mmap)
		return enter_mmap(size, thread);
	if (number == SYS_mremap)
		return enter_mremap(size, thread);
	if (number == SYS_shmat)
		return enter_shmat(size, thread);
	uint64_t end = arguments[0] + arguments[1],
		 above = arguments[0] > size->limit ? arguments[0] : size->limit;
	if (number == SYS_munmap && arguments[0] % thread->map->page == 0 &&
		(end > size->limit || end < arguments[0]) &&
		!address_map_overlaps(thread->map, above, end))
		return EINVAL;
	return 0;
}

/* The chosen place is taken after all: choose another one, or give up. */
static int64_t try_another(const struct task_size *size, struct thread *thread)
{
	if (++thread->attempts > MOST_ATTEMPTS || !refresh(size, thread))
		return -ENOMEM;
	thread->issued = thread->faulted;
	int error = thread->issued.number == SYS_mmap ? enter_mmap(size, thread)
						      : enter_shmat(size, thread);
	return error ? -error : REPEAT_CALL;
}

/* Update the map after a call that succeeded. */
static void update(struct address_map *map, const struct call *issued, int64_t result)
{
	uint64_t start = issued->arguments[0], place = (uint64_t)result;
	uint64_t length = address_map_page_above(map, issued->arguments[1]);
	struct shmid_ds segment;
	if (issued->number == SYS_munmap)
		address_map_remove(map, start, start + length);
	else if (issued->number == SYS_mmap)
		address_map_insert(map, place, place + length);
	else if (issued->number == SYS_shmat && shmctl((int)start, IPC_STAT, &segment) == 0)
		address_map_insert(
			map, place, place + address_map_page_above(map, segment.shm_segsz));
	else if (issued->number == SYS_mremap) {
		if (!(issued->arguments[3] & MREMAP_DONTUNMAP))
			address_map_remove(map, start, start + length);
		address_map_insert(
			map, place, place + address_map_page_above(map, issued->arguments[2]));
	}
}

int64_t task_size_exit(const struct task_size *size, struct thread *thread, int64_t result)
{
	const struct call *faulted = &thread->faulted, *issued = &thread->issued;
	bool changed = memcmp(faulted->arguments, issued->arguments, sizeof issued->arguments) != 0;
	bool moves = (issued->arguments[3] & MREMAP_FIXED) != 0;
	thread->claim = (struct range){0, 0};
	if (result < 0 && result >= LAST_ERROR) {
		if (thread->issued.number != SYS_munmap)
			thread->map->stale = true; /* the claimed range is not mapped */
		if (changed && ((issued->number == SYS_mmap && result == -EEXIST) ||
				       (issued->number == SYS_shmat && result == -EINVAL)))
			return try_another(size, thread);
		if (changed && issued->number == SYS_mremap && result == -ENOMEM && !moves) {
			int error = move_mapping(size, thread);
			return error ? -error : REPEAT_CALL;
		}
		return result;
	}
	update(thread->map, issued, result);
	return result;
}
