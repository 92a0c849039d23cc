#include "guest_filter.c" /* first: it defines _GNU_SOURCE. It has write_filter() and the list */

#include "check.h"

#include <stdbool.h>

enum { MOST_STEPS = 20 }; /* a filter that compares one number after the other takes 70 */

/* Run the filter as the kernel does: linux/Documentation/networking/filter.rst. */
static unsigned result(const struct code *code, unsigned arch, unsigned call, unsigned argument)
{
	unsigned loaded = 0;
	for (size_t at = 0, steps = 1;; at++, steps++) {
		const struct sock_filter *one = &code->statement[at];
		CHECK(at < code->count);
		CHECK(steps <= MOST_STEPS);
		if (BPF_CLASS(one->code) == BPF_RET)
			return one->k;
		if (BPF_CLASS(one->code) == BPF_LD) {
			loaded = one->k == offsetof(struct seccomp_data, arch) ? arch
				 : one->k == offsetof(struct seccomp_data, nr) ? call
									       : argument;
			continue;
		}
		bool holds = BPF_OP(one->code) == BPF_JEQ   ? loaded == one->k
			     : BPF_OP(one->code) == BPF_JGE ? loaded >= one->k
							    : (loaded & one->k) != 0;
		at += holds ? one->jt : one->jf;
	}
}

static unsigned expected(unsigned call)
{
	if (call == CLONE3)
		return SECCOMP_RET_ERRNO | ENOSYS;
	for (size_t i = 0; i < REFUSED; i++)
		if (call == (unsigned)refused[i])
			return SECCOMP_RET_ERRNO | EPERM;
	return SECCOMP_RET_ALLOW;
}

int main(void)
{
	struct code code = {.count = 0};
	write_filter(&code);
	CHECK(code.count <= MOST_STATEMENTS);
	for (unsigned call = 0; call < 1000; call++)
		CHECK(result(&code, AUDIT_ARCH_HERE, call, AF_UNIX) == expected(call));
	CHECK(result(&code, AUDIT_ARCH_HERE, SYS_clone, CLONE_NEWUSER) ==
		(SECCOMP_RET_ERRNO | EPERM));
	CHECK(result(&code, AUDIT_ARCH_HERE, X32_CALLS, 0) == (SECCOMP_RET_ERRNO | ENOSYS));
	CHECK(result(&code, AUDIT_ARCH_HERE ^ 1, SYS_read, 0) == (SECCOMP_RET_ERRNO | ENOSYS));
#ifdef SYS_socket
	CHECK(result(&code, AUDIT_ARCH_HERE, SYS_socket, AF_INET) ==
		(SECCOMP_RET_ERRNO | EAFNOSUPPORT));
#endif
	return 0;
}
