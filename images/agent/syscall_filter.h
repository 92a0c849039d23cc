/* Seccomp filters that act on a few system calls and let all others pass. */
#ifndef FOOTHOLD_SYSCALL_FILTER_H
#define FOOTHOLD_SYSCALL_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_FILTERED 64 /* system calls of one filter */

/* A set of system call numbers. */
struct call_set {
	long numbers[MOST_FILTERED];
	size_t count;
};

/* Add COUNT numbers; NO_CALL and known numbers are skipped. */
void call_set_add(struct call_set *set, const long *numbers, size_t count);

/* What a filter tells the tracer with SECCOMP_RET_TRACE, besides an errno. */
#define FILTER_REFUSES 0x8000 /* another filter refuses the call with that errno */
#define FILTER_COMPAT 0x4000  /* the call is one of a 32-bit program */
#define FILTER_ERRNO 0x0fff

/* Install a filter in this process that answers SECCOMP_RET_... ACTION for these calls of this
 * architecture, and of its 32-bit programs (then with FILTER_COMPAT). FLAGS are those of
 * seccomp(2). Returns the result of that call (0, or a listener's descriptor), or a negative errno.
 */
int install_syscall_filter(const struct call_set *set, uint32_t action, unsigned flags);

/* A filter as the kernel takes it, compiled elsewhere. */
struct filter_code {
	struct sock_filter *statement; /* NULL: none */
	size_t count;
};

/* Read it from hexadecimal digits. Returns 0 or -EINVAL. */
int filter_code_parse(struct filter_code *code, const char *text);
/* Have the tracer refuse what the filter refuses with an errno: a call that a filter itself refuses
 * is not seen by a tracer that another filter stops the program for. */
void filter_code_trace(const struct filter_code *code);
/* Install it in this process. Returns 0 or a negative errno. */
int filter_code_install(const struct filter_code *code);

/* A call that fails with ERROR if all bits of MASK are set in an argument, counted from 0. */
struct refused_call {
	long number; /* NO_CALL: an architecture lacks it */
	unsigned argument;
	uint32_t mask;
	int error;
};

/* Install a filter in this process that refuses these calls of this architecture and of its 32-bit
 * programs, or has the tracer refuse them. Returns 0 or a negative errno. */
int install_refusals(const struct refused_call *calls, size_t count, bool traced);

#endif
