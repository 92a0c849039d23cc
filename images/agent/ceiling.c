/* An address space that ends earlier: what this kernel would answer if its task size were smaller.
 *
 * Nothing new is mapped above the ceiling. What execve has put there (program, loader, stack, vdso)
 * stays, and may be unmapped, moved away or mapped over. The rules are those of mm/mmap.c
 * (get_unmapped_area, do_mmap, do_munmap), mm/mremap.c and ipc/shm.c:
 *
 *   mmap, shmat   longer than all, or insisting on a place beyond the end: ENOMEM. A hint that is
 *                 beyond it, or taken: no hint. Without one, the kernel's own choice (space.c).
 *   mremap        grows in place if that is free and below the end; else it moves, if it may, to
 *                 the kernel's choice. MREMAP_FIXED beyond the end: EINVAL.
 *   munmap        beyond the end: EINVAL.
 *
 * All others (mprotect, madvise, mincore, msync, mlock) answer above the ceiling what they answer
 * wherever nothing is mapped: ENOMEM. The kernel would place above it, so a place is found here and
 * insisted on, with MAP_FIXED_NOREPLACE; if it is taken after all, the call is made again. */
#define _GNU_SOURCE
#include "bend.h"

#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif
#define MOST_TRIES 8

static uint64_t whole_pages(uint64_t length) { return (length + PAGE - 1) & ~(PAGE - 1); }

/* What is mapped, as the kernel says, and what calls under way are about to map. */
static int refresh(const struct thread *thread)
{
	if (!space_read(thread->space, thread->tid))
		return 0;
	for (struct thread *other = threads; other; other = other->next)
		if (other != thread && other->space == thread->space && other->claim.end)
			space_take(thread->space, other->claim.start, other->claim.end);
	return 1;
}

static void claim(struct thread *thread, uint64_t start, uint64_t length)
{
	thread->claim = (struct range) { start, start + length };
	space_take(thread->space, start, start + length);
}

/* The place of a new mapping: where it asks to be, if that is free, or the kernel's choice; 0: none. */
static uint64_t choose(const struct bend *bend, struct thread *thread, uint64_t hint, uint64_t length)
{
	if (thread->space->stale)
		refresh(thread);
	for (int fresh = 0; fresh < 2; fresh++) {
		uint64_t place = 0;
		if (hint && hint <= bend->ceiling - length && !space_meets(thread->space, hint, hint + length))
			place = hint;
		if (!place)
			place = space_find(thread->space, length, bend->ceiling);
		if (place) {
			claim(thread, place, length);
			return place;
		}
		if (!refresh(thread))
			break;
	}
	return 0;
}

static int map(const struct bend *bend, struct thread *thread)
{
	uint64_t *arguments = thread->made.arguments;
	uint64_t address = arguments[0], length = whole_pages(arguments[1]), flags = arguments[3];
	if (!arguments[1])
		return 0; /* the kernel has a word for that */
	if (!length || length > bend->ceiling)
		return ENOMEM;
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		int beyond = address > bend->ceiling - length;
		if (address % PAGE)
			return 0;
		if (beyond && (flags & MAP_FIXED_NOREPLACE || !space_holds(thread->space, address, address + length)))
			return ENOMEM;
		claim(thread, address, length);
		return 0;
	}
	if (flags & MAP_32BIT)
		return 0; /* below 2 GiB by itself */
	arguments[0] = choose(bend, thread, address & ~(PAGE - 1), length);
	/* MAP_SHARED_VALIDATE knows fewer flags: there it has to be a hint */
	if ((flags & MAP_TYPE) != MAP_SHARED_VALIDATE)
		arguments[3] |= MAP_FIXED_NOREPLACE;
	return arguments[0] ? 0 : ENOMEM;
}

/* It grows, or is copied, to another place. */
static int move(const struct bend *bend, struct thread *thread)
{
	uint64_t *arguments = thread->made.arguments;
	refresh(thread); /* MREMAP_FIXED replaces what is there: be sure that nothing is */
	arguments[4] = choose(bend, thread, 0, whole_pages(arguments[2]));
	arguments[3] = thread->wanted.arguments[3] | MREMAP_MAYMOVE | MREMAP_FIXED;
	return arguments[4] ? 0 : ENOMEM;
}

static int remap(const struct bend *bend, struct thread *thread)
{
	uint64_t *arguments = thread->made.arguments;
	uint64_t start = arguments[0], before = whole_pages(arguments[1]), after = whole_pages(arguments[2]);
	uint64_t flags = arguments[3], target = arguments[4];
	if (start % PAGE || !after)
		return 0; /* the kernel has a word for that */
	if (flags & MREMAP_FIXED) {
		if (after > bend->ceiling)
			return EINVAL;
		if (target > bend->ceiling - after && !space_holds(thread->space, target, target + after))
			return EINVAL;
		claim(thread, target, after);
		return 0;
	}
	if (after > bend->ceiling)
		return ENOMEM;
	if (flags & MREMAP_DONTUNMAP || !before)
		return flags & MREMAP_MAYMOVE ? move(bend, thread) : 0;
	if (after <= before)
		return 0;
	if (start < bend->ceiling && start > bend->ceiling - after)
		return flags & MREMAP_MAYMOVE ? move(bend, thread) : ENOMEM;
	arguments[3] &= ~(uint64_t)MREMAP_MAYMOVE; /* first in its place */
	return 0;
}

static int attach(const struct bend *bend, struct thread *thread)
{
	struct shmid_ds segment;
	uint64_t *arguments = thread->made.arguments;
	if (shmctl((int)arguments[0], IPC_STAT, &segment) < 0)
		return 0; /* the kernel has a word for that */
	uint64_t length = whole_pages(segment.shm_segsz);
	if (length > bend->ceiling || arguments[1] > bend->ceiling - length)
		return ENOMEM;
	if (!arguments[1])
		arguments[1] = choose(bend, thread, 0, length);
	else
		claim(thread, arguments[1], length);
	return arguments[1] ? 0 : ENOMEM;
}

/* Before a call: change it as it has to be made; answers an errno with which it fails instead. */
int ceiling_call(const struct bend *bend, struct thread *thread)
{
	const uint64_t *arguments = thread->made.arguments;
	long number = thread->made.number;
	thread->tries = 0;
	if (thread->space->stale && !refresh(thread))
		return 0; /* its program has not begun, or it is dying */
	if (number == SYS_mmap)
		return map(bend, thread);
	if (number == SYS_mremap)
		return remap(bend, thread);
	if (number == SYS_shmat)
		return attach(bend, thread);
	uint64_t end = arguments[0] + arguments[1], above = arguments[0] > bend->ceiling ? arguments[0] : bend->ceiling;
	if (number == SYS_munmap && arguments[0] % PAGE == 0 && (end > bend->ceiling || end < arguments[0]) &&
	    !space_meets(thread->space, above, end))
		return EINVAL;
	return 0;
}

/* The place that was chosen is taken after all: another, or give up. */
static int64_t try_another(const struct bend *bend, struct thread *thread)
{
	if (++thread->tries > MOST_TRIES || !refresh(thread))
		return -ENOMEM;
	thread->made = thread->wanted;
	int error = thread->made.number == SYS_mmap ? map(bend, thread) : attach(bend, thread);
	return error ? -error : ONCE_MORE;
}

/* What it has done to the space. */
static void follow(struct space *space, const struct call *made, int64_t result)
{
	uint64_t start = made->arguments[0], length = whole_pages(made->arguments[1]), place = (uint64_t)result;
	struct shmid_ds segment;
	if (made->number == SYS_munmap)
		space_give(space, start, start + length);
	else if (made->number == SYS_mmap)
		space_take(space, place, place + length);
	else if (made->number == SYS_shmat && shmctl((int)start, IPC_STAT, &segment) == 0)
		space_take(space, place, place + whole_pages(segment.shm_segsz));
	else if (made->number == SYS_mremap) {
		if (!(made->arguments[3] & MREMAP_DONTUNMAP))
			space_give(space, start, start + length);
		space_take(space, place, place + whole_pages(made->arguments[2]));
	}
}

/* After a call: its result as the program is to see it, or ONCE_MORE. */
int64_t ceiling_result(const struct bend *bend, struct thread *thread, int64_t result)
{
	const struct call *wanted = &thread->wanted, *made = &thread->made;
	int changed = memcmp(wanted->arguments, made->arguments, sizeof made->arguments) != 0;
	int moves = (made->arguments[3] & MREMAP_FIXED) != 0;
	thread->claim = (struct range) { 0, 0 };
	if (result < 0 && result > -4096) {
		if (thread->made.number != SYS_munmap)
			thread->space->stale = 1; /* what was claimed is not there */
		if (changed && ((made->number == SYS_mmap && result == -EEXIST) ||
		                (made->number == SYS_shmat && result == -EINVAL)))
			return try_another(bend, thread);
		if (changed && made->number == SYS_mremap && result == -ENOMEM && !moves) {
			int error = move(bend, thread);
			return error ? -error : ONCE_MORE;
		}
		return result;
	}
	follow(thread->space, made, result);
	return result;
}
