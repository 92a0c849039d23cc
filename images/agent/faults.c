#define _GNU_SOURCE
#include "faults.h"

#include "mman.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define MOST_ERRNO 4095

static const struct {
	const char *name;
	long numbers[2];
} kinds[] = {
	{"mmap", {SYS_mmap, NO_CALL}},
	{"hinted", {SYS_mmap, NO_CALL}},
	{"munmap", {SYS_munmap, NO_CALL}},
	{"mprotect", {SYS_mprotect, NO_CALL}},
	{"mremap", {SYS_mremap, NO_CALL}},
	{"madvise", {SYS_madvise, NO_CALL}},
	{"mincore", {SYS_mincore, NO_CALL}},
	{"getrlimit", {SYS_prlimit64, SYS_getrlimit}},
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* Calls that place or remove a mapping. */
static const long placing[] = {SYS_mmap, SYS_munmap, SYS_mremap, SYS_shmat};
/* Calls that make a thread or process, which shares the address space or gets a copy. */
static const long cloning[] = {SYS_clone, SYS_clone3};

/* START-END */
static int parse_range(const char *text, struct range *range)
{
	char start[32];
	size_t length = strcspn(text, "-");
	if (!text[length] || length >= sizeof start)
		return -EINVAL;
	memcpy(start, text, length);
	start[length] = 0;
	if (parse_number(start, &range->start) < 0 ||
		parse_number(text + length + 1, &range->end) < 0)
		return -EINVAL;
	return range->start < range->end ? 0 : -EINVAL;
}

/* CALL:N:ERRNO */
static int parse_failure(const char *text, struct failure *failure)
{
	char name[16] = "", nth[16] = "";
	uint64_t number, error;
	int errno_at = 0;
	if (sscanf(text, "%15[a-z]:%15[0-9]:%n", name, nth, &errno_at) != 2 || !errno_at)
		return -EINVAL;
	if (parse_number(nth, &number) < 0 || parse_number(text + errno_at, &error) < 0)
		return -EINVAL;
	if (!number || number > UINT32_MAX || !error || error > MOST_ERRNO)
		return -EINVAL;
	for (size_t i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, name)) {
			*failure = (struct failure){
				.kind = (int)i, .nth = (unsigned)number, .error = (int)error};
			return 0;
		}
	return -EINVAL;
}

int faults_option(struct faults *faults, int argc, char **argv, int at)
{
	struct range range;
	struct failure failure;
	if (at + 1 >= argc)
		return 0;
	const char *option = argv[at], *value = argv[at + 1];
	if (!strcmp(option, "--ceiling")) {
		if (parse_number(value, &faults->task_size_limit) < 0 || !faults->task_size_limit)
			return -EINVAL;
	} else if (!strcmp(option, "--ignore-hints")) {
		if (parse_range(value, &faults->ignored) < 0)
			return -EINVAL;
	} else if (!strcmp(option, "--occupy")) {
		if (parse_range(value, &range) < 0)
			return -EINVAL;
		faults->occupied = grow(faults->occupied, faults->occupies, sizeof range);
		faults->occupied[faults->occupies++] = range;
	} else if (!strcmp(option, "--fail")) {
		if (parse_failure(value, &failure) < 0)
			return -EINVAL;
		faults->failure = grow(faults->failure, faults->failures, sizeof failure);
		faults->failure[faults->failures++] = failure;
	} else {
		return 0;
	}
	return 2;
}

void faults_free(struct faults *faults)
{
	free(faults->occupied);
	free(faults->failure);
	*faults = (struct faults){.task_size_limit = 0};
}

bool faults_any(const struct faults *faults)
{
	return faults->occupies || faults->failures || faults->ignored.end ||
	       faults->task_size_limit;
}

void faults_calls(const struct faults *faults, struct call_set *calls)
{
	if (faults->ignored.end)
		call_set_add(calls, &placing[0], 1);
	if (faults->task_size_limit)
		call_set_add(calls, placing, sizeof placing / sizeof *placing);
	if (faults->task_size_limit && ARGUMENTS_HIDDEN_AFTER_ENTRY)
		call_set_add(calls, cloning, sizeof cloning / sizeof *cloning);
	for (size_t i = 0; i < faults->failures; i++)
		call_set_add(calls, kinds[faults->failure[i].kind].numbers, 2);
}

static bool has_hint(const struct call *call)
{
	bool fixed = (call->arguments[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
	return call->number == SYS_mmap && call->arguments[0] && !fixed;
}

static bool is_kind(int kind, const struct call *call)
{
	if (call->number != kinds[kind].numbers[0] && call->number != kinds[kind].numbers[1])
		return false;
	if (strcmp(kinds[kind].name, "hinted") != 0)
		return true;
	return has_hint(call) && (call->arguments[3] & MAP_ANONYMOUS);
}

int faults_apply(struct faults *faults, struct call *call)
{
	int error = 0;
	for (size_t i = 0; i < faults->failures; i++) {
		struct failure *failure = &faults->failure[i];
		if (is_kind(failure->kind, call) && ++failure->seen == failure->nth)
			error = failure->error;
	}
	if (has_hint(call) && call->arguments[0] >= faults->ignored.start &&
		call->arguments[0] < faults->ignored.end)
		call->arguments[0] = 0;
	return error;
}
