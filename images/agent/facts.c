#define _GNU_SOURCE
#include "facts.h"

#include "cgroup.h"
#include "mman.h"
#include "util.h"
#include "write_execute.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE 65536 /* bytes of a mapping whose place is measured; as Go's probe of 2012 */
#ifdef __powerpc64__
#define LOW_HINT 0x90000000u /* programs lie at 0x10000000 */
#else
#define LOW_HINT 0x10000000u
#endif
#define STARTS 6 /* a random bit is equal in all of them once in 32 times */

static size_t page;

static void *map_page(void *where, int flags)
{
	return mmap(where, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/* Is a page at this address within the address space, free or taken? Without MAP_FIXED_NOREPLACE
 * (kernels before 4.17, qemu-user before 8) the address is only a hint. */
static bool within(uint64_t address)
{
	unsigned char present;
	void *where = (void *)(uintptr_t)address, *got = map_page(where, MAP_FIXED_NOREPLACE);
	if (got == MAP_FAILED)
		return errno == EEXIST;
	munmap(got, page);
	if (got == where || mincore(where, page, &present) == 0)
		return true;
	if (map_page(where, MAP_FIXED) == MAP_FAILED)
		return false;
	munmap(where, page);
	return true;
}

/* The first page in (low, high] where within() changes; its values at low and high must differ. */
static uint64_t boundary(uint64_t low, uint64_t high)
{
	bool at_low = within(low);
	while (high - low > page) {
		uint64_t middle = (low + (high - low) / 2) & ~(uint64_t)(page - 1);
		if (within(middle) == at_low)
			low = middle;
		else
			high = middle;
	}
	return high;
}

static void *map_probe(uint64_t address)
{
	return mmap(
		(void *)(uintptr_t)address, PROBE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Write where the kernel places a mapping with this hint, as a member of the object. */
static void write_hint(int fd, const char *name, uint64_t address)
{
	void *got = map_probe(address);
	int refused = got == MAP_FAILED ? errno : 0;
	dprintf(fd, "\"%s\":{\"asked\":%llu,\"got\":%llu,\"errno\":%d},", name,
		(unsigned long long)address, refused ? 0ULL : (unsigned long long)(uintptr_t)got,
		refused);
	if (!refused)
		munmap(got, PROBE);
}

/* The number in a file, or -1. */
static long long file_number(const char *path)
{
	char *text = read_file(path, NULL);
	long long value = text && *text >= '0' && *text <= '9' ? atoll(text) : -1;
	free(text);
	return value;
}

/* Bytes of a line of /proc/meminfo, which has KiB; -1: it is not there. */
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

int probe_main(void)
{
	uint64_t place = (uintptr_t)map_probe(0);
	return write_all(STDOUT_FILENO, &place, sizeof place) < 0 ? EXIT_AGENT : 0;
}

/* How `agent probe` is started; facts_main() puts an emulator before it. */
static char *default_command[] = {"/proc/self/exe", "probe", NULL};
static char **probe_command = default_command;

/* Start `agent probe`. Returns the address that it writes; 0: it cannot be started. */
static uint64_t probe_program(void)
{
	int ends[2], status = -1;
	uint64_t place = 0;
	if (pipe(ends) < 0)
		return 0;
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execv(probe_command[0], probe_command);
		_exit(EXIT_AGENT);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 &&
		read(ends[0], &place, sizeof place) < 0)
		place = 0;
	close(ends[0]), close(ends[1]);
	return place;
}

/* How many bits of a place are random: from the highest that differs among a few starts down to the
 * page. Two equal places are proof enough that nothing is random, and a start takes milliseconds in
 * UML. -1: the agent cannot be started here. */
static int random_bits(void)
{
	uint64_t first = probe_program(), differ = 0;
	for (int i = 1; i < STARTS && first; i++) {
		uint64_t place = probe_program();
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

/* Can a child be traced? 0 or the errno: containers and hardened kernels refuse. */
static int tracing(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? errno : 0);
	int status;
	return pid < 0 || waitpid(pid, &status, 0) < 0 ? errno : WEXITSTATUS(status);
}

/* Can a filter stop a tracee at its system calls? 0 or the errno. */
static int trace_filters(void)
{
	uint32_t action = SECCOMP_RET_TRACE;
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? errno : 0;
}

/* Can the memory layout be chosen? 0 or the errno. */
static int layout_choice(void)
{
	int now = personality(0xffffffff);
	int refused = personality((unsigned long)now | ADDR_NO_RANDOMIZE) < 0 ? errno : 0;
	personality((unsigned long)now);
	return refused;
}

/* The lowest address at which nothing can be mapped. */
static uint64_t end_of_addresses(bool wide)
{
	uint64_t top = wide ? (uint64_t)1 << 62 : 0xfffff000u;
	if (!within(top))
		return boundary(1u << 30, top);
	if (wide) /* s390x */
		return boundary(top, ~(uint64_t)(page - 1));
	return top + page;
}

void facts_write(int fd)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	bool wide = sizeof(void *) == 8;
	uint64_t task_size = end_of_addresses(wide);
	uint64_t lowest = within(0) ? 0 : boundary(0, 1u << 28);
	void *one = map_probe(0), *two = map_probe(0);
	munmap(one, PROBE), munmap(two, PROBE);
	struct utsname name;
	uname(&name);
	char *memory = read_file("/proc/meminfo", NULL);
	struct memory_cgroup cgroup = cgroup_own();

	dprintf(fd,
		"{\"schema\":2,\"machine\":\"%s\",\"release\":\"%s\",\"pointer_size\":%zu,\"page_"
		"size\":%zu,"
		"\"task_size\":%llu,\"lowest\":%llu,\"placement\":\"%s\",\"first\":%llu,",
		name.machine, name.release, sizeof(void *), page, (unsigned long long)task_size,
		(unsigned long long)lowest, two < one ? "top-down" : "bottom-up",
		(unsigned long long)(uintptr_t)one);
	write_hint(fd, "hint_high", wide ? (uint64_t)0xf8 << 32 : 0xb0000000u);
	write_hint(fd, "hint_low", LOW_HINT);
	write_hint(fd, "hint_beyond", task_size);
	dprintf(fd,
		"\"aslr\":%lld,\"aslr_bits\":%d,\"rlimit_as\":%lld,\"rlimit_data\":%lld,\"rlimit_"
		"stack\":%lld,"
		"\"rlimit_memlock\":%lld,\"overcommit\":%lld,\"commit_limit\":%lld,\"committed\":%"
		"lld,"
		"\"memory\":%lld,\"max_map_count\":%lld,\"cgroup\":{\"version\":%d,\"limit\":%lld},"
		"\"tools\":{\"ptrace\":%d,\"seccomp\":%d,\"personality\":%d,\"mdwe\":%d},\"huge_"
		"page_size\":%"
		"lld}\n",
		file_number("/proc/sys/kernel/randomize_va_space"), random_bits(),
		soft_limit(RLIMIT_AS), soft_limit(RLIMIT_DATA), soft_limit(RLIMIT_STACK),
		soft_limit(RLIMIT_MEMLOCK), file_number("/proc/sys/vm/overcommit_memory"),
		meminfo(memory, "CommitLimit:"), meminfo(memory, "Committed_AS:"),
		meminfo(memory, "MemTotal:"), file_number("/proc/sys/vm/max_map_count"),
		cgroup.version, cgroup.limit, tracing(), trace_filters(), layout_choice(),
		write_execute_prctl(), meminfo(memory, "Hugepagesize:"));
	free(memory);
}

int facts_main(int argc, char **argv)
{
	int words = argc - 2;
	if (words > 0) {
		probe_command = xcalloc((size_t)words + 2, sizeof *probe_command);
		memcpy(probe_command, argv + 2, (size_t)words * sizeof *probe_command);
		probe_command[words] = "probe";
	}
	facts_write(STDOUT_FILENO);
	return 0;
}
