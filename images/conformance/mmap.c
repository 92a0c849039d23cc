/* The address space: mapping, unmapping, protecting and advising. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
enum { READ_WRITE = PROT_READ | PROT_WRITE, PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS };

static void *map_at(void *address, size_t pages, int protection, int flags)
{
	return mmap(address, pages * page_size(), protection, PRIVATE | flags, -1, 0);
}

/* An address where so many pages are free. */
static char *free_range(size_t pages)
{
	char *at = map_pages(pages, PROT_NONE);
	munmap(at, pages * page_size());
	return at;
}

/* ---- where ---- */

PROBE(hint, "mmap/hint", "A hint to a free range is taken.",
	"mmap(2): the kernel picks a nearby page")
{
	char *at = free_range(4);
	void *got = map_at(at, 4, READ_WRITE, 0);
	DEMAND(got == at, "the mapping is at %p, not at the hint %p", got, (void *)at);
}

PROBE(hint_taken, "mmap/hint-occupied", "A hint to an occupied range never replaces it.", "mmap(2)")
{
	char *at = map_pages(4, READ_WRITE);
	*at = 42;
	char *got = map_at(at, 4, READ_WRITE, 0);
	DEMAND(got != MAP_FAILED && got != at, "the mapping is at %p", (void *)got);
	demand_equal(*at, 42, "the byte of the old mapping");
}

PROBE(hint_unaligned, "mmap/hint-unaligned", "A hint that is not aligned gives an aligned mapping.",
	"mmap(2)")
{
	char *at = free_range(4);
	uintptr_t got = (uintptr_t)map_at(at + 123, 1, READ_WRITE, 0);
	DEMAND(got != (uintptr_t)MAP_FAILED && !(got & (page_size() - 1)), "the mapping is at %#lx",
		got);
}

PROBE(fixed, "mmap/fixed", "MAP_FIXED replaces what was there with zeroed pages.", "mmap(2)")
{
	char *at = map_pages(3, READ_WRITE);
	memset(at, 42, 3 * page_size());
	void *got = map_at(at + page_size(), 1, READ_WRITE, MAP_FIXED);
	DEMAND(got == at + page_size(), "the mapping is at %p", got);
	demand_equal(at[page_size()], 0, "a byte of the new page");
	demand_equal(at[0] + at[2 * page_size()], 84, "the bytes of the neighbours");
}

PROBE(fixed_unaligned, "mmap/fixed-unaligned",
	"MAP_FIXED at an address that is not aligned fails with EINVAL.", "mmap(2)")
{
	char *at = free_range(2);
	demand_errno((long)map_at(at + 1, 1, READ_WRITE, MAP_FIXED), EINVAL, "mmap");
}

PROBE(noreplace, "mmap/fixed-noreplace", "MAP_FIXED_NOREPLACE on a mapping fails with EEXIST.",
	"mmap(2)")
{
	char *at = map_pages(3, READ_WRITE);
	demand_errno(
		(long)map_at(at + page_size(), 1, READ_WRITE, MAP_FIXED_NOREPLACE), EEXIST, "mmap");
}

PROBE(noreplace_free, "mmap/fixed-noreplace-free",
	"MAP_FIXED_NOREPLACE in a free range maps there.", "mmap(2)")
{
	char *at = free_range(3);
	void *got = map_at(at, 3, READ_WRITE, MAP_FIXED_NOREPLACE);
	DEMAND(got == at, "the mapping is at %p", got);
}

#ifdef MAP_32BIT
PROBE(low, "mmap/32bit", "MAP_32BIT maps in the first two gigabytes.", "mmap(2)")
{
	uintptr_t got = (uintptr_t)map_at(NULL, 4, READ_WRITE, MAP_32BIT);
	DEMAND(got < 1UL << 31, "the mapping is at %#lx", got);
	*(volatile char *)got = 1;
}
#endif

PROBE(no_length, "mmap/length-zero", "A mapping of no bytes fails with EINVAL.", "mmap(2)")
{
	demand_errno((long)mmap(NULL, 0, READ_WRITE, PRIVATE, -1, 0), EINVAL, "mmap");
}

PROBE(no_kind, "mmap/no-type", "A mapping neither shared nor private fails with EINVAL.", "mmap(2)")
{
	demand_errno(
		(long)mmap(NULL, page_size(), READ_WRITE, MAP_ANONYMOUS, -1, 0), EINVAL, "mmap");
}

PROBE(unknown_flag, "mmap/shared-validate",
	"MAP_SHARED_VALIDATE refuses unknown flags with EOPNOTSUPP.", "mmap(2)")
{
	demand_errno((long)mmap(NULL, page_size(), READ_WRITE, 0x3 | 0x80000, file_of(1), 0),
		EOPNOTSUPP, "mmap");
}

PROBE(bad_file, "mmap/bad-descriptor", "A file mapping without a file fails with EBADF.", "mmap(2)")
{
	demand_errno((long)mmap(NULL, page_size(), READ_WRITE, MAP_PRIVATE, -1, 0), EBADF, "mmap");
}

PROBE(bad_offset, "mmap/offset-unaligned", "An offset that is not aligned fails with EINVAL.",
	"mmap(2)")
{
	demand_errno((long)mmap(NULL, page_size(), PROT_READ, MAP_PRIVATE, file_of(2), 8), EINVAL,
		"mmap");
}

PROBE(too_long, "mmap/too-long", "A mapping longer than the address space fails with ENOMEM.",
	"mmap(2)")
{
	demand_errno((long)mmap(NULL, SIZE_MAX / 2, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0),
		ENOMEM, "mmap");
}

PROBE(beyond_end, "mmap/beyond-end", "MAP_FIXED beyond the address space fails with ENOMEM.",
	"mmap(2)")
{
	void *beyond = (void *)~(page_size() * 16 - 1);
	demand_errno((long)map_at(beyond, 1, READ_WRITE, MAP_FIXED), ENOMEM, "mmap");
}

PROBE(unreadable_write, "mmap/read-only-file",
	"A shared writable mapping of a read-only descriptor fails with EACCES.", "mmap(2)")
{
	char path[64];
	int file = file_of(1);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	FILE *read_only = fopen(path, "r");
	if (!read_only)
		skips("there is no /proc");
	demand_errno((long)mmap(NULL, page_size(), READ_WRITE, MAP_SHARED, fileno(read_only), 0),
		EACCES, "mmap");
}

/* ---- the ends of the address space ---- */

#ifdef __x86_64__
enum { LAST_PAGES = 64, PLACES = 3 * LAST_PAGES };
static const uintptr_t LARGEST_END = 0x7ffffffff000UL;

/* Where the address space ends: no page can be mapped at or above it. */
static uintptr_t end_of_space(void)
{
	uintptr_t mapped = 0x10000, refused = LARGEST_END;
	while (refused - mapped > page_size()) {
		uintptr_t middle = (mapped + (refused - mapped) / 2) & ~(page_size() - 1);
		void *got = map_at((void *)middle, 1, PROT_NONE, MAP_FIXED_NOREPLACE);
		if (got == MAP_FAILED && errno != EEXIST) {
			refused = middle;
			continue;
		}
		if (got != MAP_FAILED)
			munmap(got, page_size());
		mapped = middle;
	}
	return refused;
}

/* The pages around the end of the address space and below the largest end, of those that are not
 * shown: where a kernel might hide something. */
static size_t hidden_places(uintptr_t *places)
{
	size_t count = 0;
	uintptr_t end = end_of_space();
	for (int n = -LAST_PAGES; n < LAST_PAGES; n++)
		places[count++] = end + (uintptr_t)((long)page_size() * n);
	for (int n = 1; n <= LAST_PAGES; n++)
		places[count++] = LARGEST_END - page_size() * (size_t)n;
	size_t hidden = 0;
	for (size_t n = 0; n < count; n++)
		if (places[n] < LARGEST_END && !is_mapped(places[n]))
			places[hidden++] = places[n];
	return hidden;
}

#define MAPS_SOURCE "proc_pid_maps(5): the currently mapped memory regions"

/* Whether a page can be read that is not shown. A read below the stack extends the stack, which is
 * shown then; in one of fifty processes it lies near the end. */
static bool is_hidden(uintptr_t place)
{
	return !fault_of_read((void *)place).number && !is_mapped(place);
}

PROBE(hidden_pages, "mmap/hidden-pages",
	"Pages that /proc/self/maps does not show cannot be read, at the end of the address space.",
	MAPS_SOURCE)
{
	uintptr_t places[PLACES], first = 0;
	int readable = 0;
	for (size_t n = hidden_places(places); n--;) {
		if (is_hidden(places[n])) {
			first = places[n];
			readable++;
		}
	}
	set_value((long)first);
	errno = 0;
	DEMAND(!readable, "%d hidden pages can be read, one at %#lx", readable, first);
}

static void *hidden;

static int call_hidden(void)
{
	struct fault fault = fault_of_call(hidden);
	return !(fault.number == SIGSEGV && fault.address == hidden);
}

PROBE(hidden_code, "mmap/hidden-code",
	"Pages that /proc/self/maps does not show cannot be executed, at the end of the address "
	"space.",
	MAPS_SOURCE)
{
	uintptr_t places[PLACES];
	for (size_t n = hidden_places(places); n--;) {
		hidden = (void *)places[n];
		if (!is_hidden(places[n]))
			continue; /* nothing is there */
		int end = in_child(call_hidden);
		set_value((long)places[n]);
		errno = 0;
		DEMAND(!end, "a call of the hidden page %#lx ends with status %d", places[n], end);
	}
}

static int write_hidden(void)
{
	/* the last byte of a page, which is used least */
	return fault_of_write((char *)hidden + page_size() - 1).number != SIGSEGV;
}

PROBE(hidden_writes, "mmap/hidden-writable",
	"Pages that /proc/self/maps does not show cannot be written, at the end of the address "
	"space.",
	MAPS_SOURCE)
{
	uintptr_t places[PLACES];
	for (size_t n = hidden_places(places); n--;) {
		hidden = (void *)places[n];
		if (!is_hidden(places[n]))
			continue;
		int end = in_child(write_hidden);
		set_value((long)places[n]);
		errno = 0;
		DEMAND(!end, "a write to the hidden page %#lx ends with status %d", places[n], end);
	}
}
#endif

PROBE(unmap_beyond, "mmap/unmap-beyond-end", "munmap beyond the address space fails with EINVAL.",
	"munmap(2)")
{
	demand_errno(munmap((void *)~(page_size() * 16 - 1), page_size()), EINVAL, "munmap");
}

/* ---- mremap ---- */

PROBE(grow_in_place, "mmap/mremap-grow",
	"mremap grows a mapping with free space behind it in place.", "mremap(2)")
{
	char *at = map_pages(8, READ_WRITE);
	munmap(at + 2 * page_size(), 6 * page_size());
	*at = 42;
	void *got = mremap(at, 2 * page_size(), 4 * page_size(), 0);
	DEMAND(got == at, "the mapping is at %p", got);
	at[4 * page_size() - 1] = 1;
	demand_equal(*at, 42, "the first byte");
}

PROBE(grow_blocked, "mmap/mremap-blocked",
	"mremap without MREMAP_MAYMOVE fails with ENOMEM if space is lacking.", "mremap(2)")
{
	char *at = map_pages(3, READ_WRITE);
	mprotect(at + page_size(), page_size(), PROT_NONE);
	demand_errno((long)mremap(at, page_size(), 2 * page_size(), 0), ENOMEM, "mremap");
}

PROBE(move, "mmap/mremap-move",
	"mremap moves a mapping with its contents, and unmaps the old place.", "mremap(2)")
{
	char *at = map_pages(3, READ_WRITE);
	mprotect(at + page_size(), page_size(), PROT_NONE);
	memset(at, 42, page_size());
	char *got = mremap(at, page_size(), 64 * page_size(), MREMAP_MAYMOVE);
	DEMAND(got != MAP_FAILED && got != at, "the mapping is at %p", (void *)got);
	demand_equal(got[page_size() - 1], 42, "the last byte");
	demand_equal(got[64 * page_size() - 1], 0, "a new byte");
	demand_fault(fault_of_read(at), SIGSEGV, SEGV_MAPERR, at);
}

PROBE(shrink, "mmap/mremap-shrink", "mremap shrinks a mapping; its end is gone.", "mremap(2)")
{
	char *at = map_pages(4, READ_WRITE);
	at[3 * page_size()] = 1;
	void *got = mremap(at, 4 * page_size(), page_size(), 0);
	DEMAND(got == at, "the mapping is at %p", got);
	demand_fault(
		fault_of_read(at + 3 * page_size()), SIGSEGV, SEGV_MAPERR, at + 3 * page_size());
}

PROBE(move_fixed, "mmap/mremap-fixed", "MREMAP_FIXED moves a mapping over another one.",
	"mremap(2)")
{
	char *from = map_pages(1, READ_WRITE), *to = map_pages(1, READ_WRITE);
	*from = 42, *to = 43;
	void *got = mremap(from, page_size(), page_size(), MREMAP_MAYMOVE | MREMAP_FIXED, to);
	DEMAND(got == to, "the mapping is at %p", got);
	demand_equal(*to, 42, "the moved byte");
	demand_fault(fault_of_read(from), SIGSEGV, SEGV_MAPERR, from);
}

PROBE(move_dontunmap, "mmap/mremap-dontunmap",
	"MREMAP_DONTUNMAP leaves a zeroed mapping at the old place.", "mremap(2)")
{
	char *from = map_pages(1, READ_WRITE);
	*from = 42;
	char *got = mremap(from, page_size(), page_size(), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	DEMAND(got != MAP_FAILED, "mremap fails: %s", strerror(errno));
	demand_equal(*got, 42, "the moved byte");
	demand_equal(*from, 0, "the byte at the old place");
}

PROBE(move_shared, "mmap/mremap-duplicate",
	"mremap of a shared mapping with an old size of 0 maps it a second time.", "mremap(2)")
{
	char *one = mmap(NULL, page_size(), READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *two = mremap(one, 0, page_size(), MREMAP_MAYMOVE);
	DEMAND(two != MAP_FAILED, "mremap fails: %s", strerror(errno));
	*one = 42;
	demand_equal(*two, 42, "the byte in the second mapping");
}

PROBE(move_overlap, "mmap/mremap-overlap", "MREMAP_FIXED onto itself fails with EINVAL.",
	"mremap(2)")
{
	char *at = map_pages(4, READ_WRITE);
	demand_errno((long)mremap(at, 2 * page_size(), 2 * page_size(),
			     MREMAP_MAYMOVE | MREMAP_FIXED, at + page_size()),
		EINVAL, "mremap");
}

PROBE(move_many, "mmap/mremap-touched-pages",
	"Two hundred touched pages keep their contents over mremap.", "mremap(2)")
{
	enum { PAGES = 200 }; /* a busy host gives a guest little time */
	char *at = map_pages(PAGES, READ_WRITE), *to = free_range(PAGES);
	for (size_t n = 0; n < PAGES; n++)
		at[n * page_size()] = (char)n;
	char *got = mremap(
		at, PAGES * page_size(), PAGES * page_size(), MREMAP_MAYMOVE | MREMAP_FIXED, to);
	DEMAND(got == to, "the mapping is at %p", (void *)got);
	for (size_t n = 0; n < PAGES; n++)
		DEMAND(got[n * page_size()] == (char)n, "page %zu lost its contents", n);
}

/* ---- munmap and mprotect ---- */

PROBE(hole, "mmap/unmap-hole", "munmap in the middle leaves both ends.", "munmap(2)")
{
	char *at = map_pages(3, READ_WRITE);
	memset(at, 42, 3 * page_size());
	demand_errno(munmap(at + page_size(), page_size()), 0, "munmap");
	demand_equal(at[0] + at[2 * page_size()], 84, "the bytes of the ends");
	demand_fault(fault_of_read(at + page_size()), SIGSEGV, SEGV_MAPERR, at + page_size());
}

PROBE(unmap_free, "mmap/unmap-free", "munmap of a range without mappings succeeds.", "munmap(2)")
{
	demand_errno(munmap(free_range(4), 4 * page_size()), 0, "munmap");
}

PROBE(unmap_unaligned, "mmap/unmap-unaligned",
	"munmap of an address that is not aligned fails with EINVAL.", "munmap(2)")
{
	demand_errno(munmap((char *)map_pages(1, READ_WRITE) + 8, 8), EINVAL, "munmap");
}

PROBE(unmapped_zeroed, "mmap/unmap-and-map",
	"A page that is unmapped and mapped again is zeroed, twenty times.",
	"mmap(2): MAP_ANONYMOUS is initialized to zero")
{
	enum { PAGES = 8 };
	char *at = map_pages(PAGES, READ_WRITE);
	for (int n = 0; n < 20; n++) {
		memset(at, 42, PAGES * page_size());
		munmap(at, PAGES * page_size());
		DEMAND(map_at(at, PAGES, READ_WRITE, MAP_FIXED) == at, "mmap fails");
		for (size_t page = 0; page < PAGES; page++)
			demand_equal(at[page * page_size() + 7], 0, "a byte of a new page");
	}
}

PROBE(split, "mmap/protect-middle",
	"mprotect of a page in the middle does not change its neighbours.", "mprotect(2)")
{
	char *at = map_pages(3, READ_WRITE);
	memset(at, 42, 3 * page_size());
	demand_errno(mprotect(at + page_size(), page_size(), PROT_READ), 0, "mprotect");
	at[0] = at[2 * page_size()] = 1;
	demand_fault(fault_of_write(at + page_size()), SIGSEGV, SEGV_ACCERR, at + page_size());
	demand_equal(at[page_size()], 42, "the byte of the page");
}

PROBE(protect_unmapped, "mmap/protect-unmapped",
	"mprotect of a range with a hole fails with ENOMEM.", "mprotect(2)")
{
	char *at = map_pages(3, READ_WRITE);
	munmap(at + page_size(), page_size());
	demand_errno(mprotect(at, 3 * page_size(), PROT_READ), ENOMEM, "mprotect");
}

PROBE(hidden_and_shown, "mmap/protect-none", "A page keeps its contents while it has PROT_NONE.",
	"mprotect(2)")
{
	char *at = map_pages(1, READ_WRITE);
	for (int n = 1; n < 50; n++) {
		*at = (char)n;
		mprotect(at, page_size(), PROT_NONE);
		demand_fault(fault_of_read(at), SIGSEGV, SEGV_ACCERR, at);
		mprotect(at, page_size(), READ_WRITE);
		demand_equal(*at, n, "the byte of the page");
	}
}

#if defined(__x86_64__)
PROBE(write_only, "mmap/write-implies-read", "A page with PROT_WRITE alone can be read on x86.",
	"mmap(2), NOTES: on some architectures, such as i386, PROT_WRITE implies PROT_READ")
{
	char *at = map_pages(2, PROT_WRITE);
	at[0] = 42;
	demand_equal(fault_of_read(at).number, 0, "the signal of a read of a written page");
	demand_equal(
		fault_of_read(at + page_size()).number, 0, "the signal of a read of a fresh page");
}
#endif

#if defined(__x86_64__)
static const unsigned char RETURN_7[] = {0xb8, 7, 0, 0, 0, 0xc3};
#elif defined(__aarch64__)
static const unsigned char RETURN_7[] = {0xe0, 0, 0x80, 0x52, 0xc0, 3, 0x5f, 0xd6};
#endif

#if defined(__x86_64__) || defined(__aarch64__)
static int call_page(char *page)
{
	__builtin___clear_cache(page, page + sizeof RETURN_7);
	return ((int (*)(void))(uintptr_t)page)();
}

PROBE(executable, "mmap/executable", "Code that is written into a page and made executable runs.",
	"mprotect(2)")
{
	char *page = map_pages(1, READ_WRITE);
	memcpy(page, RETURN_7, sizeof RETURN_7);
	demand_errno(mprotect(page, page_size(), PROT_READ | PROT_EXEC), 0, "mprotect");
	demand_equal(call_page(page), 7, "the result of the code");
}

PROBE(rewritten, "mmap/rewritten-code",
	"A page that alternates between writable and executable runs its newest code.",
	"mprotect(2); just-in-time compilers depend on it")
{
	char *page = map_pages(1, READ_WRITE);
	for (int n = 0; n < 100; n++) {
		mprotect(page, page_size(), READ_WRITE);
		memcpy(page, RETURN_7, sizeof RETURN_7);
#ifdef __x86_64__
		page[1] = (char)n;
#endif
		mprotect(page, page_size(), PROT_READ | PROT_EXEC);
#ifdef __x86_64__
		demand_equal(call_page(page), n, "the result of the code");
#else
		demand_equal(call_page(page), 7, "the result of the code");
#endif
	}
}

static void call_it(void *page)
{
	call_page(page);
}

PROBE(made_data, "mmap/execute-after-protect",
	"Code in a page whose PROT_EXEC was taken away raises SIGSEGV.", "mprotect(2)")
{
	char *page = map_pages(1, READ_WRITE);
	memcpy(page, RETURN_7, sizeof RETURN_7);
	mprotect(page, page_size(), PROT_READ | PROT_EXEC);
	call_page(page);
	mprotect(page, page_size(), PROT_READ);
	struct fault fault = fault_of(call_it, page);
	demand_equal(fault.number, SIGSEGV, "the signal");
}

PROBE(stack_code, "mmap/execute-stack",
	"Code on the stack of a program with PT_GNU_STACK without PF_X raises SIGSEGV.",
	"elf(5); execve: fs/binfmt_elf.c")
{
	char room[64];
	memcpy(room, RETURN_7, sizeof RETURN_7);
	struct fault fault = fault_of(call_it, room);
	demand_equal(fault.number, SIGSEGV, "the signal");
}

PROBE(heap_code, "mmap/execute-heap", "Code in the heap (brk) raises SIGSEGV.",
	"brk(2): the data segment")
{
	char *room = sbrk(4096);
	if (room == (char *)-1)
		cannot("sbrk");
	memcpy(room, RETURN_7, sizeof RETURN_7);
	struct fault fault = fault_of(call_it, room);
	demand_equal(fault.number, SIGSEGV, "the signal");
}

static char data_code[64];

PROBE(data_segment_code, "mmap/execute-data", "Code in the data of a program raises SIGSEGV.",
	"elf(5): PF_X")
{
	memcpy(data_code, RETURN_7, sizeof RETURN_7);
	struct fault fault = fault_of(call_it, data_code);
	demand_equal(fault.number, SIGSEGV, "the signal");
}
#endif

/* ---- madvise ---- */

PROBE(dontneed, "mmap/madvise-dontneed", "MADV_DONTNEED zeroes private anonymous pages.",
	"madvise(2)")
{
	char *at = map_pages(4, READ_WRITE);
	memset(at, 42, 4 * page_size());
	demand_errno(madvise(at + page_size(), 2 * page_size(), MADV_DONTNEED), 0, "madvise");
	demand_equal(at[page_size()] + at[3 * page_size() - 1], 0, "the bytes of the pages");
	demand_equal(at[0] + at[3 * page_size()], 84, "the bytes of the neighbours");
}

PROBE(dontneed_file, "mmap/madvise-dontneed-file",
	"MADV_DONTNEED restores the file in a private mapping of it.", "madvise(2)")
{
	int file = file_of(1);
	if (pwrite(file, "file", 4, 0) != 4)
		cannot("pwrite");
	char *at = map_file(file, 1, MAP_PRIVATE);
	memcpy(at, "mine", 4);
	madvise(at, page_size(), MADV_DONTNEED);
	DEMAND(!memcmp(at, "file", 4), "the page has %.4s", at);
}

PROBE(madv_free, "mmap/madvise-free", "A page written after MADV_FREE keeps what was written.",
	"madvise(2)")
{
	char *at = map_pages(1, READ_WRITE);
	*at = 1;
	demand_errno(madvise(at, page_size(), MADV_FREE), 0, "madvise");
	*at = 42;
	demand_equal(*at, 42, "the byte of the page");
}

static char *page_of_parent;

static int read_in_child(void)
{
	return *(volatile char *)page_of_parent;
}

static int write_in_child(void)
{
	struct fault fault = fault_of_write(page_of_parent);
	return fault.number;
}

PROBE(dontfork, "mmap/madvise-dontfork",
	"A child of fork has no mapping that has MADV_DONTFORK: SIGSEGV.", "madvise(2)")
{
	page_of_parent = map_pages(1, READ_WRITE);
	*page_of_parent = 42;
	demand_errno(madvise(page_of_parent, page_size(), MADV_DONTFORK), 0, "madvise");
	int signal_of_child = in_child(write_in_child);
	errno = 0;
	set_value(*page_of_parent);
	DEMAND(*page_of_parent == 42, "the child wrote into the private page of its parent");
	demand_equal(signal_of_child, SIGSEGV, "the signal in the child");
}

PROBE(dofork, "mmap/madvise-dofork", "MADV_DOFORK undoes MADV_DONTFORK.", "madvise(2)")
{
	page_of_parent = map_pages(1, READ_WRITE);
	*page_of_parent = 42;
	madvise(page_of_parent, page_size(), MADV_DONTFORK);
	madvise(page_of_parent, page_size(), MADV_DOFORK);
	demand_equal(in_child(read_in_child), 42, "the byte that the child reads");
}

PROBE(wipeonfork, "mmap/madvise-wipeonfork",
	"A child of fork finds zeroes in a mapping that has MADV_WIPEONFORK.", "madvise(2)")
{
	page_of_parent = map_pages(1, READ_WRITE);
	*page_of_parent = 42;
	demand_errno(madvise(page_of_parent, page_size(), MADV_WIPEONFORK), 0, "madvise");
	demand_equal(in_child(read_in_child), 0, "the byte that the child reads");
	demand_equal(*page_of_parent, 42, "the byte of the parent");
}

PROBE(remove_pages, "mmap/madvise-remove",
	"MADV_REMOVE punches a hole into the file of a shared mapping.", "madvise(2)")
{
	char *at = map_file(file_of(2), 2, MAP_SHARED);
	memset(at, 42, 2 * page_size());
	demand_errno(madvise(at, page_size(), MADV_REMOVE), 0, "madvise");
	demand_equal(at[0], 0, "a byte of the hole");
	demand_equal(at[page_size()], 42, "a byte of the next page");
}

PROBE(populate, "mmap/madvise-populate", "After MADV_POPULATE_WRITE the pages are resident.",
	"madvise(2), mincore(2)")
{
	unsigned char resident[4] = {0};
	char *at = map_pages(4, READ_WRITE);
	if (madvise(at, 4 * page_size(), MADV_POPULATE_WRITE)) {
		if (errno == EINVAL)
			skips("the kernel has no MADV_POPULATE_WRITE");
		cannot("madvise");
	}
	mincore(at, 4 * page_size(), resident);
	demand_equal((resident[0] & 1) + (resident[1] & 1) + (resident[2] & 1) + (resident[3] & 1),
		4, "the number of resident pages");
}

PROBE(unknown_advice, "mmap/madvise-unknown", "Unknown advice fails with EINVAL.", "madvise(2)")
{
	demand_errno(madvise(map_pages(1, READ_WRITE), page_size(), 9999), EINVAL, "madvise");
}

PROBE(advise_hole, "mmap/madvise-hole", "Advice for a range with a hole fails with ENOMEM.",
	"madvise(2)")
{
	char *at = map_pages(3, READ_WRITE);
	munmap(at + page_size(), page_size());
	demand_errno(madvise(at, 3 * page_size(), MADV_DONTNEED), ENOMEM, "madvise");
}

/* ---- residence, locks, populate ---- */

PROBE(map_populate, "mmap/populate", "The pages of a mapping with MAP_POPULATE are resident.",
	"mmap(2), mincore(2)")
{
	unsigned char resident[4] = {0};
	char *at = map_at(NULL, 4, READ_WRITE, MAP_POPULATE);
	mincore(at, 4 * page_size(), resident);
	demand_equal((resident[0] & 1) + (resident[3] & 1), 2,
		"resident pages among the first and the last");
}

PROBE(mincore_touched, "mmap/mincore", "mincore tells which pages were touched.", "mincore(2)")
{
	unsigned char resident[4] = {0};
	char *at = map_pages(4, READ_WRITE);
	at[2 * page_size()] = 1;
	demand_errno(mincore(at, 4 * page_size(), resident), 0, "mincore");
	demand_equal(resident[2] & 1, 1, "the touched page");
	demand_equal(resident[0] & 1, 0, "an untouched page");
}

PROBE(mincore_hole, "mmap/mincore-hole", "mincore of a range with a hole fails with ENOMEM.",
	"mincore(2)")
{
	unsigned char resident[3];
	char *at = map_pages(3, READ_WRITE);
	munmap(at + page_size(), page_size());
	demand_errno(mincore(at, 3 * page_size(), resident), ENOMEM, "mincore");
}

static long locked_kilobytes(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];
	long locked = -1;
	if (!status)
		cannot("fopen");
	while (fgets(line, sizeof line, status))
		sscanf(line, "VmLck: %ld", &locked);
	fclose(status);
	return locked;
}

PROBE(lock, "mmap/mlock", "mlock makes pages resident, and /proc counts them as VmLck.",
	"mlock(2), proc_pid_status(5)")
{
	unsigned char resident[2] = {0};
	char *at = map_pages(2, READ_WRITE);
	demand_errno(mlock(at, 2 * page_size()), 0, "mlock");
	mincore(at, 2 * page_size(), resident);
	demand_equal(resident[1] & 1, 1, "the residence of a locked page");
	demand_equal(locked_kilobytes(), (long)(2 * page_size() / 1024), "VmLck");
	demand_errno(munlock(at, 2 * page_size()), 0, "munlock");
	demand_equal(locked_kilobytes(), 0, "VmLck");
}

PROBE(lock_hole, "mmap/mlock-hole", "mlock of a range with a hole fails with ENOMEM.", "mlock(2)")
{
	char *at = map_pages(3, READ_WRITE);
	munmap(at + page_size(), page_size());
	demand_errno(mlock(at, 3 * page_size()), ENOMEM, "mlock");
}

PROBE(msync_hole, "mmap/msync-hole", "msync of a range with a hole fails with ENOMEM.", "msync(2)")
{
	char *at = map_pages(3, READ_WRITE);
	munmap(at + page_size(), page_size());
	demand_errno(msync(at, 3 * page_size(), MS_SYNC), ENOMEM, "msync");
}

/* ---- brk and stacks ---- */

PROBE(brk_grow, "mmap/brk", "The heap grows with zeroed pages, and shrinks.", "brk(2)")
{
	char *end = sbrk(0);
	char *page = (char *)(((uintptr_t)end + page_size() - 1) & ~(page_size() - 1));
	DEMAND(!brk(page + 4 * page_size()), "brk fails: %s", strerror(errno));
	demand_equal(page[3 * page_size()], 0, "a new byte");
	memset(page, 42, 4 * page_size());
	DEMAND(!brk(page + page_size()), "brk fails: %s", strerror(errno));
	demand_fault(fault_of_read(page + 2 * page_size()), SIGSEGV, SEGV_MAPERR,
		page + 2 * page_size());
	DEMAND(!brk(page + 4 * page_size()), "brk fails: %s", strerror(errno));
	demand_equal(page[2 * page_size()], 0, "a byte that was released and taken again");
}

PROBE(grows_down, "mmap/grows-down",
	"A mapping with MAP_GROWSDOWN grows when the page below it is touched.", "mmap(2)")
{
	/* far below is free, by more than the guard gap */
	char *at = free_range(1024) + 1000 * page_size();
	volatile char *got = map_at(at, 4, READ_WRITE, MAP_GROWSDOWN | MAP_FIXED);
	DEMAND(got != MAP_FAILED, "mmap fails: %s", strerror(errno));
	got[0] = 1;
	struct fault fault = fault_of_write((char *)(uintptr_t)got - 8);
	demand_equal(fault.number, 0, "the signal");
}

__attribute__((noinline)) static size_t deep(size_t left)
{
	volatile char room[4096];
	room[0] = (char)left;
	return left ? deep(left - 1) + (size_t)room[0] - (size_t)(char)left : 0;
}

PROBE(deep_stack, "mmap/stack-grows", "The stack grows to 4 MiB, below its limit of 8 MiB.",
	"getrlimit(2), RLIMIT_STACK")
{
	demand_equal((long)deep(1000), 0, "the sum");
}

/* ---- large and many mappings ---- */

PROBE(large, "mmap/large", "A reservation of 64 GiB succeeds, and single pages of it can be used.",
	"mmap(2): MAP_NORESERVE; Documentation/mm/overcommit-accounting.rst")
{
	size_t bytes = (size_t)64 << 30;
	char *at = mmap(NULL, bytes, READ_WRITE, PRIVATE | MAP_NORESERVE, -1, 0);
	DEMAND(at != MAP_FAILED, "mmap fails: %s", strerror(errno));
	for (size_t n = 0; n < 64; n++)
		at[n << 30] = (char)(n + 1);
	for (size_t n = 0; n < 64; n++)
		demand_equal(at[n << 30], (long)n + 1, "a byte");
	demand_errno(munmap(at, bytes), 0, "munmap");
}

PROBE(many_areas, "mmap/many-areas", "A process may have 4000 areas of alternating protection.",
	"Documentation/admin-guide/sysctl/vm.rst, max_map_count")
{
	enum { AREAS = 4000 };
	char *at = map_pages(AREAS, READ_WRITE);
	for (size_t n = 0; n < AREAS; n += 2)
		DEMAND(!mprotect(at + n * page_size(), page_size(), PROT_READ),
			"mprotect fails: %s", strerror(errno));
	at[page_size()] = 1;
	demand_fault(fault_of_write(at), SIGSEGV, SEGV_ACCERR, at);
}

PROBE(address_limit, "mmap/rlimit-as", "A mapping beyond RLIMIT_AS fails with ENOMEM.",
	"getrlimit(2)")
{
	setrlimit(RLIMIT_AS, &(struct rlimit){256 << 20, 256 << 20});
	demand_errno((long)mmap(NULL, 512 << 20, READ_WRITE, PRIVATE, -1, 0), ENOMEM, "mmap");
}

enum { SCATTERED = 67000 };
static volatile size_t *touched;

/* Copy a byte by one instruction, which needs both pages at once. */
static void copy_byte(char *to, const char *from)
{
#ifdef __x86_64__
	__asm__ volatile("movsb" : "+D"(to), "+S"(from)::"memory");
#else
	*(volatile char *)to = *(const volatile char *)from;
#endif
}

/* Touch every other page once, in scattered order: 40507 and 67000 have no common divisor. Half of
 * them are only read: all of these are the page of zeroes, and take no memory.
 */
static int touch_scattered(void)
{
	size_t bytes = (size_t)SCATTERED * 2 * page_size();
	char *at = mmap(NULL, bytes, READ_WRITE, PRIVATE | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		cannot("mmap");
	for (size_t n = 0; n < SCATTERED; n += 2) {
		char *from = at + n * 40507 % SCATTERED * 2 * page_size();
		char *to = at + (n + 1) * 40507 % SCATTERED * 2 * page_size();
		copy_byte(to, from);
		*touched = n + 2;
	}
	return 0;
}

LONE_PROBE(scattered, "mmap/scattered-pages",
	"A process can touch 67,000 single pages of one mapping: it is one area of memory.",
	"Documentation/admin-guide/sysctl/vm.rst, max_map_count: memory map areas a process may "
	"have")
{
	int status = 0;
	size_t last = 0;
	double since = now();
	touched = mmap(NULL, page_size(), READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (touched == MAP_FAILED)
		cannot("mmap");
	pid_t child = start(touch_scattered);
	while (waitpid(child, &status, WNOHANG) != child) {
		sleep_ms(50);
		if (*touched != last)
			since = now();
		last = *touched;
		set_value((long)last);
		DEMAND(now() - since < 2, "it makes no progress after %zu pages", last);
	}
	set_value((long)*touched);
	errno = 0;
	DEMAND(!status, "after %zu pages it ends with wait status %#x", *touched, (unsigned)status);
}

PROBE(fixed_below_heap, "mmap/fixed-noreplace-overlap",
	"MAP_FIXED_NOREPLACE that overlaps by one page fails with EEXIST.", "mmap(2)")
{
	char *at = map_pages(4, READ_WRITE);
	munmap(at, 3 * page_size());
	demand_errno((long)map_at(at, 4, READ_WRITE, MAP_FIXED_NOREPLACE), EEXIST, "mmap");
}
