/* Faults, as they are asked for: what a kernel might do to a program.
 *
 *   --ceiling ADDRESS         the address space ends there                      (ceiling.c)
 *   --occupy START-END        mapped (PROT_NONE) before the first instruction after every exec
 *   --ignore-hints START-END  an address in that range counts as none, unless MAP_FIXED insists
 *   --fail KIND:N:ERRNO       the n-th call of a kind fails, of all threads and children together
 *
 * A seccomp filter stops the subject at the calls that are asked about and at no other, so that
 * all else costs nothing. */
#define _GNU_SOURCE
#include "bend.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MOST_CALLS 64 /* that a filter stops at */

static const struct { const char *name; long numbers[2]; } kinds[] = {
	{ "mmap", { SYS_mmap, NO_CALL } },         { "hinted", { SYS_mmap, NO_CALL } },
	{ "munmap", { SYS_munmap, NO_CALL } },     { "mprotect", { SYS_mprotect, NO_CALL } },
	{ "mremap", { SYS_mremap, NO_CALL } },     { "madvise", { SYS_madvise, NO_CALL } },
	{ "mincore", { SYS_mincore, NO_CALL } },   { "getrlimit", { SYS_prlimit64, SYS_getrlimit } },
};
#define KINDS (sizeof kinds / sizeof *kinds)

static const long placing[] = { SYS_mmap, SYS_munmap, SYS_mremap, SYS_shmat }; /* what a ceiling is about */
static const long making[] = { SYS_clone, SYS_clone3 }; /* others, with a space of their own or not */

static int range(const char *text, struct range *out)
{
	char low[32], *dash = strchr(text, '-');
	if (!dash || (size_t)(dash - text) >= sizeof low)
		return 0;
	snprintf(low, sizeof low, "%.*s", (int)(dash - text), text);
	out->start = number(low), out->end = number(dash + 1);
	return out->start < out->end;
}

static int failure(const char *text, struct failure *out)
{
	char name[16] = "";
	if (sscanf(text, "%15[a-z]:%u:%d", name, &out->nth, &out->error) != 3)
		return 0;
	for (out->kind = 0; out->kind < (int)KINDS && strcmp(kinds[out->kind].name, name); out->kind++)
		;
	return out->kind < (int)KINDS && out->nth > 0 && out->error > 0;
}

/* Take one option at argv[at] if it is one of ours; answer how many words were taken. */
int bend_option(struct bend *bend, int argc, char **argv, int at)
{
	int taken;
	if (at + 1 >= argc)
		return 0;
	if (!strcmp(argv[at], "--occupy"))
		taken = bend->occupied < MOST_FAULTS && range(argv[at + 1], &bend->occupy[bend->occupied++]);
	else if (!strcmp(argv[at], "--ignore-hints"))
		taken = range(argv[at + 1], &bend->ignore);
	else if (!strcmp(argv[at], "--fail"))
		taken = bend->failures < MOST_FAULTS && failure(argv[at + 1], &bend->fail[bend->failures++]);
	else if (!strcmp(argv[at], "--ceiling"))
		taken = (bend->ceiling = number(argv[at + 1])) > 0;
	else
		return 0;
	errno = EINVAL;
	if (!taken)
		fail("this is no fault:", argv[at + 1]);
	return 2;
}

int bend_wanted(const struct bend *bend)
{
	return bend->occupied || bend->failures || bend->ignore.end || bend->ceiling || bend->told;
}

static int is_hint(const struct call *call)
{
	int insists = (call->arguments[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
	return call->number == SYS_mmap && call->arguments[0] && !insists;
}

static int is_kind(int kind, const struct call *call)
{
	int right = call->number == kinds[kind].numbers[0] || call->number == kinds[kind].numbers[1];
	if (strcmp(kinds[kind].name, "hinted"))
		return right;
	return is_hint(call) && (call->arguments[3] & MAP_ANONYMOUS);
}

/* What becomes of a call that the program makes: an errno with which it fails, or 0, and its hint
 * is gone if it is ignored. */
int fault(struct bend *bend, struct call *call)
{
	int error = 0;
	for (int i = 0; i < bend->failures; i++)
		if (is_kind(bend->fail[i].kind, call) && ++bend->fail[i].seen == bend->fail[i].nth)
			error = bend->fail[i].error;
	if (is_hint(call) && call->arguments[0] >= bend->ignore.start && call->arguments[0] < bend->ignore.end)
		call->arguments[0] = 0;
	return error;
}

/* ---- in the child ---- */

static unsigned add(long *numbers, unsigned count, const long *more, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned known = 0;
		while (known < count && numbers[known] != more[i])
			known++;
		if (known == count && more[i] != NO_CALL && count < MOST_CALLS)
			numbers[count++] = more[i];
	}
	return count;
}

/* From here on, stop at the calls that are asked about. */
void faults_filter(const struct bend *bend)
{
	struct sock_filter code[MOST_CALLS + 6];
	long numbers[MOST_CALLS], more[MOST_CALLS];
	unsigned count = 0;
	unsigned short at = 0;
	if (bend->ignore.end)
		count = add(numbers, count, &placing[0], 1);
	if (bend->ceiling)
		count = add(numbers, count, placing, sizeof placing / sizeof *placing);
	if (bend->ceiling && ARGUMENTS_GO)
		count = add(numbers, count, making, sizeof making / sizeof *making);
	for (int i = 0; i < bend->failures; i++)
		count = add(numbers, count, kinds[bend->fail[i].kind].numbers, 2);
	if (bend->told)
		count = add(numbers, count, more, told_calls(more));
	if (!count)
		return;
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, MACHINE, 1, 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW); /* another machine's calls */
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < count; i++) /* each jumps over those that follow, and the ALLOW */
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, (unsigned)numbers[i], (unsigned char)(count - i), 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_TRACE);
	struct sock_fprog program = { at, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		fail("cannot stop at system calls", NULL);
}
