#define _GNU_SOURCE
#include "syscall_filter.h"

#include "syscall_regs.h"
#include "util.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATEMENTS_OF_REFUSAL 6

void call_set_add(struct call_set *set, const long *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t at = 0;
		while (at < set->count && set->numbers[at] != numbers[i])
			at++;
		if (at < set->count || numbers[i] == NO_CALL)
			continue;
		if (set->count == MOST_FILTERED)
			die(E2BIG, "cannot filter so many system calls", NULL);
		set->numbers[set->count++] = numbers[i];
	}
}

static int install(struct sock_fprog program, unsigned flags)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	return result < 0 ? -errno : (int)result;
}

/* Return ACTION for the calls of one kind of program: whose numbers NUMBER_OF gives; all others are
 * allowed. */
static struct sock_filter *add_calls(struct sock_filter *at, const struct call_set *set,
	uint32_t architecture, long (*number_of)(long), uint32_t action)
{
	size_t count = set->count;
	*at++ = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	*at++ = (struct sock_filter)BPF_JUMP(
		BPF_JMP | BPF_JEQ, architecture, 0, (unsigned char)(count + 3));
	*at++ = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++) /* each jumps over the rest, and over ALLOW */
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ,
			(uint32_t)number_of(set->numbers[i]), (unsigned char)(count - i), 0);
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW);
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET, action);
	return at;
}

static long own_number(long number)
{
	return number;
}

int install_syscall_filter(const struct call_set *set, uint32_t action, unsigned flags)
{
	struct sock_filter code[2 * (MOST_FILTERED + 5) + 1], *at = code;
	at = add_calls(at, set, AUDIT_ARCH_HERE, own_number, action);
#ifdef AUDIT_ARCH_COMPAT
	at = add_calls(at, set, AUDIT_ARCH_COMPAT, compat_of_call, action | FILTER_COMPAT);
#endif
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW);
	return install((struct sock_fprog){(unsigned short)(at - code), code}, flags);
}

int filter_code_parse(struct filter_code *code, const char *text)
{
	size_t size = sizeof *code->statement, digits = strspn(text, "0123456789abcdef");
	size_t count = digits / 2 / size;
	if (text[digits] || !count || count > BPF_MAXINSNS || digits != 2 * count * size)
		return -EINVAL;
	unsigned char *to = xcalloc(count, size);
	for (size_t i = 0; i < count * size; i++)
		sscanf(text + 2 * i, "%2hhx", &to[i]);
	free(code->statement);
	*code = (struct filter_code){(struct sock_filter *)to, count};
	return 0;
}

static uint32_t traced_refusal(uint32_t action)
{
	return SECCOMP_RET_TRACE | FILTER_REFUSES | (action & FILTER_ERRNO);
}

void filter_code_trace(const struct filter_code *code)
{
	for (size_t i = 0; i < code->count; i++) {
		struct sock_filter *statement = &code->statement[i];
		if (statement->code == (BPF_RET | BPF_K) &&
			(statement->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO)
			statement->k = traced_refusal(statement->k);
	}
}

int filter_code_install(const struct filter_code *code)
{
	return install((struct sock_fprog){(unsigned short)code->count, code->statement}, 0);
}

/* The low half of an argument, which has all flags. */
static uint32_t argument_offset(unsigned argument)
{
	uint32_t low = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 4;
	return (uint32_t)offsetof(struct seccomp_data, args) + 8 * argument + low;
}

/* Refuse the calls of one kind of program; others go on with the next statement. */
static struct sock_filter *add_refusals(struct sock_filter *at, const struct refused_call *calls,
	size_t count, uint32_t architecture, long (*number_of)(long))
{
	*at++ = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, architecture, 1, 0);
	struct sock_filter *jump = at++;
	for (size_t i = 0; i < count; i++) {
		const struct refused_call *call = &calls[i];
		long number = number_of(call->number);
		if (number < 0)
			continue;
		*at++ = (struct sock_filter)BPF_STMT(
			BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, (uint32_t)number, 0, 4);
		*at++ = (struct sock_filter)BPF_STMT(
			BPF_LD | BPF_W | BPF_ABS, argument_offset(call->argument));
		*at++ = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call->mask);
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, call->mask, 0, 1);
		*at++ = (struct sock_filter)BPF_STMT(
			BPF_RET, SECCOMP_RET_ERRNO | ((uint32_t)call->error & SECCOMP_RET_DATA));
	}
	*jump = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, (uint32_t)(at - jump - 1));
	return at;
}

int install_refusals(const struct refused_call *calls, size_t count, bool traced)
{
	struct sock_filter code[2 * (MOST_FILTERED * STATEMENTS_OF_REFUSAL + 3) + 1], *at = code;
	if (count > MOST_FILTERED)
		die(E2BIG, "cannot refuse so many system calls", NULL);
	at = add_refusals(at, calls, count, AUDIT_ARCH_HERE, own_number);
#ifdef AUDIT_ARCH_COMPAT
	at = add_refusals(at, calls, count, AUDIT_ARCH_COMPAT, compat_of_call);
#endif
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW);
	struct filter_code all = {code, (size_t)(at - code)};
	if (traced)
		filter_code_trace(&all);
	return filter_code_install(&all);
}
