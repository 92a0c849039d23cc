/* Faults: what a kernel might do to a program, requested by options and decided call by call.
 *
 *   --ceiling ADDRESS         the address space ends there                 (task_size_limit.c)
 *   --occupy START-END        mapped (PROT_NONE) before the first instruction after every exec
 *   --ignore-hints START-END  a hint in that range is ignored, unless MAP_FIXED is set
 *   --ignore-flag noreplace   MAP_FIXED_NOREPLACE has no effect: the address is a hint
 *   --ignore-flag noreserve   MAP_NORESERVE has no effect
 *   --fail CALL[WORD,...]:N/EVERY:ERRNO
 *                             of the calls of a kind that the words describe, the N-th fails, and
 *                             if EVERY is not 0, each EVERY-th after it; counted over all threads
 *                             and children, without the calls of the dynamic loader (loader.h)
 *
 * The tracer brings them about (tracer.c). */
#ifndef FOOTHOLD_FAULTS_H
#define FOOTHOLD_FAULTS_H

#include "range.h"
#include "syscall_filter.h"
#include "syscall_regs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_SELECTORS 8

/* Selects the calls of which an argument has a value in the bits of a mask. */
struct selector {
	unsigned argument;
	uint64_t mask, value;
};

struct failure {
	int kind; /* index of the kinds of calls in faults.c */
	struct selector selector[MOST_SELECTORS];
	size_t selectors;
	bool hinted;  /* selects mmap with an address and without MAP_FIXED */
	uint32_t nth; /* the first that fails */
	uint32_t every, seen;
	int error; /* errno of the call that fails */
};

struct faults {
	uint64_t task_size_limit; /* --ceiling; 0: none */
	struct range ignored;     /* hints; end 0: none */
	uint64_t ignored_flags;   /* of mmap */
	struct range *occupied;
	size_t occupies;
	struct failure *failure;
	size_t failures;
};

/* Parse the option at argv[at], if it is one of those above.
 * Returns how many words it has, 0 if it is another option, or -EINVAL for an invalid value. */
int faults_option(struct faults *faults, int argc, char **argv, int at);
void faults_free(struct faults *faults);
bool faults_any(const struct faults *faults);

/* Add the calls at which the tracer has to stop the subject. */
void faults_calls(const struct faults *faults, struct call_set *calls);
/* Apply the faults to a call that the program makes, or its dynamic loader: changes what is
 * ignored. Returns 0, or the errno (positive, as the program sees it) with which the call fails. A
 * brk that fails is changed into one that asks for the present end, as the kernel answers. */
int faults_apply(struct faults *faults, struct call *call, bool by_loader);

#endif
