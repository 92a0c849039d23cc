#define _GNU_SOURCE
#include "faults.h"

#include "mman.h"
#include "util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define MOST_ERRNO 4095
#define MOST_WORD 24 /* bytes of a name */

/* What the words of a kind of call describe. */
enum group { NOTHING, PROTECTION, MAP_FLAGS, MOVE_FLAGS, ADVICE, SEGMENT, ATTACHMENT };

/* CALLS in harness/model/failures.py has the same names. */
static const struct kind {
	const char *name;
	long numbers[2];
	struct {
		enum group group;
		unsigned argument;
	} words[2];
} kinds[] = {
	{"mmap", {SYS_mmap, NO_CALL}, {{PROTECTION, 2}, {MAP_FLAGS, 3}}},
	{"hinted", {SYS_mmap, NO_CALL}, {{PROTECTION, 2}, {MAP_FLAGS, 3}}},
	{"munmap", {SYS_munmap, NO_CALL}, {{NOTHING, 0}}},
	{"mprotect", {SYS_mprotect, NO_CALL}, {{PROTECTION, 2}}},
	{"pkey_mprotect", {SYS_pkey_mprotect, NO_CALL}, {{PROTECTION, 2}}},
	{"mremap", {SYS_mremap, NO_CALL}, {{MOVE_FLAGS, 3}}},
	{"brk", {SYS_brk, NO_CALL}, {{NOTHING, 0}}},
	{"madvise", {SYS_madvise, NO_CALL}, {{ADVICE, 2}}},
	{"process_madvise", {SYS_process_madvise, NO_CALL}, {{ADVICE, 3}}},
	{"mincore", {SYS_mincore, NO_CALL}, {{NOTHING, 0}}},
	{"remap_file_pages", {SYS_remap_file_pages, NO_CALL}, {{NOTHING, 0}}},
	{"shmget", {SYS_shmget, NO_CALL}, {{SEGMENT, 2}}},
	{"shmat", {SYS_shmat, NO_CALL}, {{ATTACHMENT, 2}}},
	{"shmdt", {SYS_shmdt, NO_CALL}, {{NOTHING, 0}}},
	{"map_shadow_stack", {SYS_map_shadow_stack, NO_CALL}, {{NOTHING, 0}}},
	{"mseal", {SYS_mseal, NO_CALL}, {{NOTHING, 0}}},
	{"io_setup", {SYS_io_setup, NO_CALL}, {{NOTHING, 0}}},
	{"io_destroy", {SYS_io_destroy, NO_CALL}, {{NOTHING, 0}}},
	{"io_uring_setup", {SYS_io_uring_setup, NO_CALL}, {{NOTHING, 0}}},
	{"userfaultfd", {SYS_userfaultfd, NO_CALL}, {{NOTHING, 0}}},
	{"personality", {SYS_personality, NO_CALL}, {{NOTHING, 0}}},
	{"getrlimit", {SYS_prlimit64, SYS_getrlimit}, {{NOTHING, 0}}},
	{"setrlimit", {SYS_prlimit64, SYS_setrlimit}, {{NOTHING, 0}}},
};
#define KINDS (sizeof kinds / sizeof *kinds)

#define ANY_PROTECTION (PROT_READ | PROT_WRITE | PROT_EXEC)
#define WHOLE UINT32_MAX

static const struct {
	const char *name;
	enum group group;
	uint64_t mask, value;
} words[] = {
	{"read", PROTECTION, PROT_READ, PROT_READ},
	{"write", PROTECTION, PROT_WRITE, PROT_WRITE},
	{"exec", PROTECTION, PROT_EXEC, PROT_EXEC},
	{"none", PROTECTION, ANY_PROTECTION, PROT_NONE},
	{"shared", MAP_FLAGS, MAP_SHARED, MAP_SHARED}, /* MAP_SHARED_VALIDATE as well */
	{"private", MAP_FLAGS, MAP_TYPE, MAP_PRIVATE},
	{"anonymous", MAP_FLAGS, MAP_ANONYMOUS, MAP_ANONYMOUS},
	{"file", MAP_FLAGS, MAP_ANONYMOUS, 0},
	{"fixed", MAP_FLAGS, MAP_FIXED, MAP_FIXED},
	{"noreplace", MAP_FLAGS, MAP_FIXED_NOREPLACE, MAP_FIXED_NOREPLACE},
	{"noreserve", MAP_FLAGS, MAP_NORESERVE, MAP_NORESERVE},
	{"hugetlb", MAP_FLAGS, MAP_HUGETLB, MAP_HUGETLB},
	{"growsdown", MAP_FLAGS, MAP_GROWSDOWN, MAP_GROWSDOWN},
	{"stack", MAP_FLAGS, MAP_STACK, MAP_STACK},
	{"populate", MAP_FLAGS, MAP_POPULATE, MAP_POPULATE},
	{"locked", MAP_FLAGS, MAP_LOCKED, MAP_LOCKED},
	{"32bit", MAP_FLAGS, 0x40, 0x40}, /* MAP_32BIT of x86; no other machine has this bit */
	{"maymove", MOVE_FLAGS, MREMAP_MAYMOVE, MREMAP_MAYMOVE},
	{"fixed", MOVE_FLAGS, MREMAP_FIXED, MREMAP_FIXED},
	{"dontunmap", MOVE_FLAGS, MREMAP_DONTUNMAP, MREMAP_DONTUNMAP},
	{"normal", ADVICE, WHOLE, MADV_NORMAL},
	{"random", ADVICE, WHOLE, MADV_RANDOM},
	{"sequential", ADVICE, WHOLE, MADV_SEQUENTIAL},
	{"willneed", ADVICE, WHOLE, MADV_WILLNEED},
	{"dontneed", ADVICE, WHOLE, MADV_DONTNEED},
	{"free", ADVICE, WHOLE, MADV_FREE},
	{"remove", ADVICE, WHOLE, MADV_REMOVE},
	{"dontfork", ADVICE, WHOLE, MADV_DONTFORK},
	{"dofork", ADVICE, WHOLE, MADV_DOFORK},
	{"hugepage", ADVICE, WHOLE, MADV_HUGEPAGE},
	{"nohugepage", ADVICE, WHOLE, MADV_NOHUGEPAGE},
	{"dontdump", ADVICE, WHOLE, MADV_DONTDUMP},
	{"dodump", ADVICE, WHOLE, MADV_DODUMP},
	{"cold", ADVICE, WHOLE, MADV_COLD},
	{"pageout", ADVICE, WHOLE, MADV_PAGEOUT},
	{"collapse", ADVICE, WHOLE, 25}, /* MADV_COLLAPSE, since Linux 6.1 */
	{"hugetlb", SEGMENT, SHM_HUGETLB, SHM_HUGETLB},
	{"readonly", ATTACHMENT, SHM_RDONLY, SHM_RDONLY},
	{"exec", ATTACHMENT, SHM_EXEC, SHM_EXEC},
	{"remap", ATTACHMENT, SHM_REMAP, SHM_REMAP},
};
#define WORDS (sizeof words / sizeof *words)

/* Calls that place or remove a mapping. */
static const long placing[] = {SYS_mmap, SYS_munmap, SYS_mremap, SYS_shmat};
/* Calls that make a thread or process, which shares the address space or gets a copy. */
static const long cloning[] = {
	SYS_clone,
	SYS_clone3,
#ifdef SYS_vfork
	SYS_fork,
	SYS_vfork,
#endif
};

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

static int kind_of(const char *name)
{
	for (size_t i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, name))
			return (int)i;
	return -EINVAL;
}

/* Add what a word selects. Returns 0 or -EINVAL. */
static int add_selector(struct failure *failure, const char *name)
{
	const struct kind *kind = &kinds[failure->kind];
	if (!strcmp(name, "hint") && kind->numbers[0] == SYS_mmap) {
		failure->hinted = true;
		return 0;
	}
	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; j < WORDS; j++) {
			if (kind->words[i].group != words[j].group ||
				strcmp(words[j].name, name) != 0)
				continue;
			if (failure->selectors == MOST_SELECTORS)
				return -EINVAL;
			failure->selector[failure->selectors++] = (struct selector){
				kind->words[i].argument, words[j].mask, words[j].value};
			return 0;
		}
	return -EINVAL;
}

/* CALL[WORD,...]: returns where the text goes on, or NULL. */
static const char *parse_kind(const char *text, struct failure *failure)
{
	char name[MOST_WORD] = "";
	int end = 0;
	if (sscanf(text, "%23[a-z_]%n", name, &end) != 1 || (failure->kind = kind_of(name)) < 0)
		return NULL;
	if (!strcmp(name, "hinted") &&
		(add_selector(failure, "hint") < 0 || add_selector(failure, "anonymous") < 0))
		return NULL;
	text += end;
	if (*text != '[')
		return text;
	while (*text == '[' || *text == ',') {
		if (sscanf(++text, "%23[a-z0-9]%n", name, &end) != 1 ||
			add_selector(failure, name) < 0)
			return NULL;
		text += end;
	}
	return *text == ']' ? text + 1 : NULL;
}

/* :N/EVERY:ERRNO */
static int parse_when(const char *text, struct failure *failure)
{
	uint32_t nth, every;
	unsigned error;
	int end = 0;
	if (sscanf(text, ":%10" SCNu32 "/%10" SCNu32 ":%4u%n", &nth, &every, &error, &end) != 3 ||
		text[end])
		return -EINVAL;
	if (!nth || nth > INT32_MAX || every > INT32_MAX || !error || error > MOST_ERRNO)
		return -EINVAL;
	failure->nth = nth;
	failure->every = every;
	failure->error = (int)error;
	return 0;
}

static int parse_failure(const char *text, struct failure *failure)
{
	*failure = (struct failure){.kind = 0};
	text = parse_kind(text, failure);
	return text ? parse_when(text, failure) : -EINVAL;
}

static int flag_option(struct faults *faults, const char *value)
{
	if (!strcmp(value, "noreplace"))
		faults->ignored_flags |= MAP_FIXED_NOREPLACE;
	else if (!strcmp(value, "noreserve"))
		faults->ignored_flags |= MAP_NORESERVE;
	else
		return -EINVAL;
	return 2;
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
	} else if (!strcmp(option, "--ignore-flag")) {
		return flag_option(faults, value);
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
	       faults->ignored_flags || faults->task_size_limit;
}

void faults_calls(const struct faults *faults, struct call_set *calls)
{
	if (faults->ignored.end || faults->ignored_flags)
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

/* prlimit64 can do both: it sets a limit if it is given a new one. */
static bool is_number(const struct kind *kind, const struct call *call)
{
	if (call->number == kind->numbers[0] && call->number == SYS_prlimit64)
		return (call->arguments[2] != 0) == !strcmp(kind->name, "setrlimit");
	return call->number == kind->numbers[0] || call->number == kind->numbers[1];
}

static bool selects(const struct failure *failure, const struct call *call)
{
	if (!is_number(&kinds[failure->kind], call) || (failure->hinted && !has_hint(call)))
		return false;
	for (size_t i = 0; i < failure->selectors; i++) {
		const struct selector *selector = &failure->selector[i];
		if ((call->arguments[selector->argument] & selector->mask) != selector->value)
			return false;
	}
	return true;
}

static bool fails_now(const struct failure *failure)
{
	if (failure->every && failure->seen >= failure->nth)
		return (failure->seen - failure->nth) % failure->every == 0;
	return failure->seen == failure->nth;
}

/* The errno with which a call fails, or 0. Each failure counts on its own. */
static int failing(struct faults *faults, const struct call *call)
{
	int error = 0;
	for (size_t i = 0; i < faults->failures; i++) {
		struct failure *failure = &faults->failure[i];
		if (!selects(failure, call))
			continue;
		failure->seen++;
		if (fails_now(failure))
			error = failure->error;
	}
	return error;
}

/* A kernel that does not know a flag ignores it, but not with MAP_SHARED_VALIDATE. */
static void ignore_flags(uint64_t ignored, struct call *call)
{
	if (call->number == SYS_mmap && (call->arguments[3] & MAP_TYPE) != MAP_SHARED_VALIDATE)
		call->arguments[3] &= ~ignored;
}

int faults_apply(struct faults *faults, struct call *call, bool by_loader)
{
	int error = by_loader ? 0 : failing(faults, call);
	ignore_flags(faults->ignored_flags, call);
	if (has_hint(call) && call->arguments[0] >= faults->ignored.start &&
		call->arguments[0] < faults->ignored.end)
		call->arguments[0] = 0;
	if (!error || call->number != SYS_brk)
		return error;
	call->arguments[0] = 0;
	return 0;
}
