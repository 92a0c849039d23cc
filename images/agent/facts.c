/* Measure this process's address space and say what was found, as one JSON object.
 *
 * Everything is found by mapping, nothing is looked up: the task size is the lowest address at
 * which MAP_FIXED_NOREPLACE answers neither success nor EEXIST. What the kernel alone knows
 * (modes, limits, its promises of memory) is read where it says so. The answer stays below 4,095
 * bytes, at which a UML line stalls. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define PROBE 65536 /* bytes of a mapping whose place is of interest; Go's probe of 2012 as well */
#define STARTS 6    /* a bit that is random stays the same in all of them once in 32 times */

static size_t page;

static void *map_page(void *where, int flags)
{
	return mmap(where, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/* Does a page at this address lie within the address space, be it free or taken? Who does not know
 * MAP_FIXED_NOREPLACE (kernels before 4.17, qemu-user before 8) takes the address for a hint. */
static int within(uint64_t address)
{
	unsigned char present;
	void *where = (void *)(uintptr_t)address, *got = map_page(where, MAP_FIXED_NOREPLACE);
	if (got == MAP_FAILED)
		return errno == EEXIST;
	munmap(got, page);
	if (got == where || mincore(where, page, &present) == 0)
		return 1;
	if (map_page(where, MAP_FIXED) == MAP_FAILED)
		return 0;
	munmap(where, page);
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

static void *anywhere(uint64_t address)
{
	return mmap((void *)(uintptr_t)address, PROBE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Where a mapping goes that asks for this address without insisting, as a member of the object. */
static void say_hint(int fd, const char *name, uint64_t address)
{
	void *got = anywhere(address);
	int refused = got == MAP_FAILED ? errno : 0;
	dprintf(fd, "\"%s\":{\"asked\":%llu,\"got\":%llu,\"errno\":%d},", name, (unsigned long long)address,
	        refused ? 0ULL : (unsigned long long)(uintptr_t)got, refused);
	if (!refused)
		munmap(got, PROBE);
}

static long long file_number(const char *path)
{
	char *text = slurp(path, NULL);
	long long value = text && *text >= '0' && *text <= '9' ? atoll(text) : -1;
	free(text);
	return value;
}

/* Bytes of a line of /proc/meminfo, which has KiB; -1 if it is not there. */
static long long meminfo(const char *text, const char *name)
{
	const char *at = text ? strstr(text, name) : NULL;
	return at ? atoll(at + strlen(name)) * 1024 : -1;
}

static long long soft_limit(int resource)
{
	struct rlimit limit;
	if (getrlimit(resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return -1;
	return (long long)limit.rlim_cur;
}

/* `agent where`: the place of the kernel's first mapping in a program of its own. */
int where_main(void)
{
	uint64_t place = (uintptr_t)anywhere(0);
	write_all(1, &place, sizeof place);
	return 0;
}

/* How our own file is started: by itself, unless we were told otherwise. */
static char *ourselves[16] = { "/proc/self/exe", "where", NULL };

/* Start our own file once, and say where its first mapping went; 0 if it could not be started. */
static uint64_t place_elsewhere(void)
{
	int ends[2], status = -1;
	uint64_t place = 0;
	if (pipe(ends) < 0)
		return 0;
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(ends[1], 1);
		execv(ourselves[0], ourselves);
		_exit(EXIT_AGENT);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && read(ends[0], &place, sizeof place) < 0)
		place = 0;
	close(ends[0]), close(ends[1]);
	return place;
}

/* How many bits of that place are another in another program: the highest that differs among a
 * few starts, down to the page. Two that agree are proof enough that there is no chance in it, and
 * a start takes milliseconds in UML. -1: our own file cannot be started here. */
static int random_bits(void)
{
	uint64_t first = place_elsewhere(), differ = 0;
	for (int i = 1; i < STARTS && first; i++) {
		uint64_t place = place_elsewhere();
		if (!place)
			return -1;
		differ |= place ^ first;
		if (!differ)
			break;
	}
	int bits = first ? 0 : -1;
	for (differ /= page; differ; differ >>= 1)
		bits++;
	return bits;
}

/* May a child be traced? 0 or errno: containers and hardened kernels refuse. */
static int tracing(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? errno : 0);
	int status;
	return pid < 0 || waitpid(pid, &status, 0) < 0 ? errno : WEXITSTATUS(status);
}

static int trace_filters(void)
{
	uint32_t action = SECCOMP_RET_TRACE;
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? errno : 0;
}

static int compat_layouts(void)
{
	int now = personality(0xffffffff);
	int refused = personality((unsigned long)now | ADDR_NO_RANDOMIZE) < 0 ? errno : 0;
	personality((unsigned long)now);
	return refused;
}

void facts_write(int fd)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	int wide = sizeof(void *) == 8;
	uint64_t top = wide ? (uint64_t)1 << 62 : 0xfffff000u;
	uint64_t task_size = within(top) ? top + page : boundary(1u << 30, top);
	uint64_t lowest = within(0) ? 0 : boundary(0, 1u << 28);
	void *one = anywhere(0), *two = anywhere(0);
	munmap(one, PROBE), munmap(two, PROBE);
	struct utsname name;
	uname(&name);
	char *memory = slurp("/proc/meminfo", NULL);
	struct memory_group group = group_now();

	dprintf(fd, "{\"schema\":2,\"machine\":\"%s\",\"release\":\"%s\",\"pointer_size\":%zu,\"page_size\":%zu,"
	        "\"task_size\":%llu,\"lowest\":%llu,\"placement\":\"%s\",\"first\":%llu,", name.machine, name.release,
	        sizeof(void *), page, (unsigned long long)task_size, (unsigned long long)lowest,
	        two < one ? "top-down" : "bottom-up", (unsigned long long)(uintptr_t)one);
	say_hint(fd, "hint_high", wide ? (uint64_t)0xf8 << 32 : 0xb0000000u);
	say_hint(fd, "hint_low", 0x10000000u);
	say_hint(fd, "hint_beyond", task_size);
	dprintf(fd, "\"aslr\":%lld,\"aslr_bits\":%d,\"rlimit_as\":%lld,\"rlimit_data\":%lld,\"rlimit_stack\":%lld,"
	        "\"rlimit_memlock\":%lld,\"overcommit\":%lld,\"commit_limit\":%lld,\"committed\":%lld,"
	        "\"memory\":%lld,\"max_map_count\":%lld,\"cgroup\":{\"version\":%d,\"limit\":%lld},"
	        "\"tools\":{\"ptrace\":%d,\"seccomp\":%d,\"personality\":%d},\"huge_page_size\":%lld}\n",
	        file_number("/proc/sys/kernel/randomize_va_space"), random_bits(), soft_limit(RLIMIT_AS),
	        soft_limit(RLIMIT_DATA), soft_limit(RLIMIT_STACK), soft_limit(RLIMIT_MEMLOCK),
	        file_number("/proc/sys/vm/overcommit_memory"), meminfo(memory, "CommitLimit:"),
	        meminfo(memory, "Committed_AS:"), meminfo(memory, "MemTotal:"),
	        file_number("/proc/sys/vm/max_map_count"), group.version, group.limit, tracing(), trace_filters(),
	        compat_layouts(), meminfo(memory, "Hugepagesize:"));
	free(memory);
}

/* agent facts [HOW…]: an emulator runs us, and HOW is the command line by which it does. A kernel
 * would start our file without it. */
int facts_main(int argc, char **argv)
{
	int words = argc - 2 < 14 ? argc - 2 : 14;
	for (int i = 0; i < words; i++)
		ourselves[i] = argv[2 + i];
	if (words > 0)
		ourselves[words] = "where";
	facts_write(1);
	return 0;
}
