#include "check.h"
#include "faults.h"
#include "mman.h"

#include <errno.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/syscall.h>

static struct faults with(char *option, char *value)
{
	struct faults faults = {.task_size_limit = 0};
	char *argv[] = {option, value};
	CHECK(faults_option(&faults, 2, argv, 0) == 2);
	return faults;
}

static bool is_refused(char *option, char *value)
{
	struct faults faults = {.task_size_limit = 0};
	char *argv[] = {option, value};
	int words = faults_option(&faults, 2, argv, 0);
	faults_free(&faults);
	return words == -EINVAL;
}

static int apply(
	struct faults *faults, long number, uint64_t first, uint64_t third, uint64_t fourth)
{
	struct call call = {.number = number, .arguments = {first, 4096, third, fourth}};
	return faults_apply(faults, &call, false);
}

static void the_nth_call_fails_and_then_each_nth(void)
{
	struct faults faults = with("--fail", "munmap:2/3:22");
	for (int i = 1; i <= 9; i++)
		CHECK(apply(&faults, SYS_munmap, 4096, 0, 0) == (i % 3 == 2 ? EINVAL : 0));
	CHECK(faults.failure[0].seen == 9);
	faults_free(&faults);
	CHECK(!faults_any(&faults));
}

static void the_calls_of_the_loader_are_not_counted(void)
{
	struct faults faults = with("--fail", "munmap:1/0:22");
	struct call call = {.number = SYS_munmap};
	CHECK(faults_apply(&faults, &call, true) == 0);
	CHECK(apply(&faults, SYS_munmap, 0, 0, 0) == EINVAL &&
		apply(&faults, SYS_munmap, 0, 0, 0) == 0);
	faults_free(&faults);
}

static void words_select_by_protection_and_flags(void)
{
	struct faults faults = with("--fail", "mmap[exec,private,anonymous]:1/1:12");
	uint64_t flags = MAP_PRIVATE | MAP_ANONYMOUS;
	CHECK(apply(&faults, SYS_mmap, 0, PROT_READ | PROT_EXEC, flags) == ENOMEM);
	CHECK(apply(&faults, SYS_mmap, 0, PROT_READ, flags) == 0);
	CHECK(apply(&faults, SYS_mmap, 0, PROT_EXEC, MAP_PRIVATE) == 0);
	CHECK(apply(&faults, SYS_mmap, 0, PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS) == 0);
	faults_free(&faults);
	faults = with("--fail", "shmat[readonly]:1/1:13");
	CHECK(apply(&faults, SYS_shmat, 0, SHM_RDONLY, 0) == EACCES);
	CHECK(apply(&faults, SYS_shmat, 0, 0, 0) == 0);
	faults_free(&faults);
}

static void a_hint_is_an_address_that_is_not_fixed(void)
{
	struct faults faults = with("--fail", "hinted:1/1:12");
	uint64_t flags = MAP_PRIVATE | MAP_ANONYMOUS;
	CHECK(apply(&faults, SYS_mmap, 0x10000, 0, flags) == ENOMEM);
	CHECK(apply(&faults, SYS_mmap, 0, 0, flags) == 0);
	CHECK(apply(&faults, SYS_mmap, 0x10000, 0, flags | MAP_FIXED) == 0);
	CHECK(apply(&faults, SYS_mmap, 0x10000, 0, flags | MAP_FIXED_NOREPLACE) == 0);
	CHECK(apply(&faults, SYS_mmap, 0x10000, 0, MAP_PRIVATE) == 0); /* of a file */
	faults_free(&faults);
}

static void prlimit_sets_or_reads(void)
{
	struct faults reads = with("--fail", "getrlimit:1/1:1"),
		      sets = with("--fail", "setrlimit:1/1:1");
	CHECK(apply(&reads, SYS_prlimit64, 0, 0, 0x1000) == EPERM);
	CHECK(apply(&reads, SYS_prlimit64, 0, 0x1000, 0) == 0);
	CHECK(apply(&reads, SYS_getrlimit, 0, 0, 0) == EPERM);
	CHECK(apply(&sets, SYS_prlimit64, 0, 0x1000, 0) == EPERM);
	CHECK(apply(&sets, SYS_prlimit64, 0, 0, 0x1000) == 0);
	CHECK(apply(&sets, SYS_setrlimit, 0, 0, 0) == EPERM);
	faults_free(&reads);
	faults_free(&sets);
}

static void a_brk_that_fails_asks_for_the_present_end(void)
{
	struct faults faults = with("--fail", "brk:1/0:12");
	struct call call = {.number = SYS_brk, .arguments = {0x5000}};
	CHECK(faults_apply(&faults, &call, false) == 0 && call.arguments[0] == 0);
	call.arguments[0] = 0x5000;
	CHECK(faults_apply(&faults, &call, false) == 0 && call.arguments[0] == 0x5000);
	faults_free(&faults);
}

static void hints_in_a_range_are_ignored(void)
{
	struct faults faults = with("--ignore-hints", "0x10000-0x20000");
	static const struct {
		uint64_t hint, shown;
	} cases[] = {{0xf000, 0xf000}, {0x10000, 0}, {0x1f000, 0}, {0x20000, 0x20000}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct call call = {.number = SYS_mmap, .arguments = {cases[i].hint}};
		CHECK(faults_apply(&faults, &call, false) == 0);
		CHECK(call.arguments[0] == cases[i].shown);
		call = (struct call){.number = SYS_munmap, .arguments = {cases[i].hint}};
		CHECK(faults_apply(&faults, &call, false) == 0);
		CHECK(call.arguments[0] == cases[i].hint);
	}
	faults_free(&faults);
}

static void a_flag_is_ignored_as_an_old_kernel_does(void)
{
	struct faults faults = with("--ignore-flag", "noreplace");
	uint64_t flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
	struct call call = {.number = SYS_mmap, .arguments = {0x1000, 4096, 0, flags}};
	CHECK(faults_apply(&faults, &call, false) == 0 && call.arguments[3] == MAP_PRIVATE);
	flags = MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE;
	call.arguments[3] = flags;
	CHECK(faults_apply(&faults, &call, false) == 0 && call.arguments[3] == flags);
	faults_free(&faults);
}

static void the_tracer_stops_at_what_a_fault_needs(void)
{
	static const struct {
		char *option, *value;
		long number;
		bool stops;
	} cases[] = {
		{"--ignore-hints", "0x1000-0x2000", SYS_mmap, true},
		{"--ignore-hints", "0x1000-0x2000", SYS_munmap, false},
		{"--ignore-flag", "noreserve", SYS_mmap, true},
		{"--ceiling", "0x4000000000", SYS_shmat, true},
		{"--fail", "madvise[free]:1/0:22", SYS_madvise, true},
		{"--fail", "madvise[free]:1/0:22", SYS_mmap, false},
		{"--fail", "getrlimit:1/0:1", SYS_prlimit64, true},
		{"--occupy", "0x1000-0x2000", SYS_mmap, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct faults faults = with(cases[i].option, cases[i].value);
		struct call_set calls = {.count = 0};
		bool found = false;
		CHECK(faults_any(&faults));
		faults_calls(&faults, &calls);
		for (size_t j = 0; j < calls.count; j++)
			found = found || calls.numbers[j] == cases[i].number;
		CHECK(found == cases[i].stops);
		faults_free(&faults);
	}
}

static void invalid_values_are_refused(void)
{
	static char *failures[] = {"mmap[exec,exec,exec,exec,exec,exec,exec,exec,exec]:1/0:12",
		"mmap[hint", "munmap[hint]:1/0:12", "mmap[exec:1/0:12", "mmap[9]:1/0:12",
		"9:1/0:12", "mmap:2147483648/0:12", "mmap:1/2147483648:12", "mmap:1/0:4096",
		"mmap:1/0:12x", "brk", "nothing:1/0:12"};
	static char *ranges[] = {"0x1000", "0x1000-", "-0x1000", "x-0x2000", "0x2000-0x2000",
		"00000000000000000000000000000001-0x2000"};
	for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
		CHECK(is_refused("--fail", failures[i]));
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
		CHECK(is_refused("--occupy", ranges[i]) && is_refused("--ignore-hints", ranges[i]));
	CHECK(is_refused("--ceiling", "0") && is_refused("--ceiling", "x"));
	CHECK(is_refused("--ignore-flag", "shared"));
	CHECK(!is_refused("--fail", "mmap[exec,exec,exec,exec,exec,exec,exec,exec]:1/0:4095"));
}

int main(void)
{
	the_nth_call_fails_and_then_each_nth();
	the_calls_of_the_loader_are_not_counted();
	words_select_by_protection_and_flags();
	a_hint_is_an_address_that_is_not_fixed();
	prlimit_sets_or_reads();
	a_brk_that_fails_asks_for_the_present_end();
	hints_in_a_range_are_ignored();
	a_flag_is_ignored_as_an_old_kernel_does();
	the_tracer_stops_at_what_a_fault_needs();
	invalid_values_are_refused();
	return 0;
}
