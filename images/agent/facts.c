/* Measure this process's address space and say what was found, as one JSON object.
 *
 * Everything is found by mapping, nothing is looked up: the task size is the lowest address at
 * which MAP_FIXED_NOREPLACE answers neither success nor EEXIST. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static size_t page;

/* Does a page at this address lie within the address space, be it free or taken? */
static int within(uint64_t address)
{
	void *got = mmap((void *)address, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (got == MAP_FAILED)
		return errno == EEXIST;
	munmap(got, page);
	return 1;
}

/* First page-aligned address in (low, high] where within() changes; low and high must differ in it. */
static uint64_t boundary(uint64_t low, uint64_t high)
{
	int at_low = within(low);
	while (high - low > page) {
		uint64_t middle = (low + (high - low) / 2) & ~(uint64_t)(page - 1);
		if (within(middle) == at_low)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/* Where a 64 KiB mapping goes that asks for this address without insisting; errno if refused. */
static uint64_t hint(uint64_t address, int *refused)
{
	void *got = mmap((void *)address, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*refused = got == MAP_FAILED ? errno : 0;
	if (got == MAP_FAILED)
		return 0;
	munmap(got, 65536);
	return (uint64_t)got;
}

static long long file_number(const char *path)
{
	char *text = slurp(path, NULL);
	long long value = text && *text ? atoll(text) : -1;
	free(text);
	return value;
}

void facts_write(int fd)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t top = sizeof(void *) == 8 ? (uint64_t)1 << 62 : 0xfffff000u;
	uint64_t middle = sizeof(void *) == 8 ? (uint64_t)1 << 36 : 1u << 30;
	uint64_t task_size = within(top) ? top + page : boundary(middle, top);
	uint64_t lowest = within(0) ? 0 : boundary(0, 1u << 28);

	int refused_high, refused_low, ignored;
	uint64_t first = hint(0, &ignored);
	void *one = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *two = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int top_down = two < one;
	munmap(one, 65536), munmap(two, 65536);
	uint64_t asked_high = sizeof(void *) == 8 ? (uint64_t)0xf8 << 32 : 0xb0000000u;
	uint64_t got_high = hint(asked_high, &refused_high);
	uint64_t got_low = hint(0x10000000u, &refused_low);

	struct rlimit as, data, stack;
	getrlimit(RLIMIT_AS, &as);
	getrlimit(RLIMIT_DATA, &data);
	getrlimit(RLIMIT_STACK, &stack);
	struct utsname name;
	uname(&name);
	dprintf(fd, "{\"schema\":1,\"machine\":\"%s\",\"release\":\"%s\",\"pointer_size\":%zu,\"page_size\":%zu,"
	       "\"task_size\":%llu,\"lowest\":%llu,\"placement\":\"%s\",\"first\":%llu,"
	       "\"hint_high\":{\"asked\":%llu,\"got\":%llu,\"errno\":%d},"
	       "\"hint_low\":{\"asked\":%llu,\"got\":%llu,\"errno\":%d},"
	       "\"rlimit_as\":%lld,\"rlimit_data\":%lld,\"rlimit_stack\":%lld,"
	       "\"overcommit\":%lld,\"max_map_count\":%lld,\"aslr\":%lld}\n",
	       name.machine, name.release, sizeof(void *), page, (unsigned long long)task_size,
	       (unsigned long long)lowest, top_down ? "top-down" : "bottom-up", (unsigned long long)first,
	       (unsigned long long)asked_high, (unsigned long long)got_high, refused_high, 0x10000000ULL,
	       (unsigned long long)got_low, refused_low,
	       as.rlim_cur == RLIM_INFINITY ? -1LL : (long long)as.rlim_cur,
	       data.rlim_cur == RLIM_INFINITY ? -1LL : (long long)data.rlim_cur,
	       stack.rlim_cur == RLIM_INFINITY ? -1LL : (long long)stack.rlim_cur,
	       file_number("/proc/sys/vm/overcommit_memory"), file_number("/proc/sys/vm/max_map_count"),
	       file_number("/proc/sys/kernel/randomize_va_space"));
}

int facts_main(void)
{
	facts_write(1);
	return 0;
}
