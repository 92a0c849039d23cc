/* UML before 6.13 on hosts with a large XSAVE area (AMX), without loss.
 *
 * Such a kernel saves a process's floating-point state by PTRACE_GETREGSET(NT_X86_XSTATE) into a
 * buffer of fixed size, and writes it back with that size. Linux refuses a write that is shorter
 * than the host's whole area: EFAULT, and UML panics ("ptrace set fp regs failed, errno = 14";
 * mended in 6.13 by 3f17fed21491). Preloaded, this lets the short write through: the whole area is
 * read, the short one laid over its beginning, and the whole written back, so that what UML does
 * not know of (tile data) stays what it was in that process.
 *
 * glibc's ptrace() hides the result of PEEK* in its return value; all other requests answer 0 or
 * -1 with errno. Both are kept. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LARGEST 65536 /* bytes; the architecture's largest area today is about 11 KiB */

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		long word;
		long result = syscall(SYS_ptrace, request, pid, address, &word);
		if (result < 0)
			return result;
		errno = 0;
		return word;
	}
	if (request == PTRACE_SETREGSET && (unsigned long)address == NT_X86_XSTATE) {
		static __thread char whole[LARGEST];
		struct iovec asked = *(struct iovec *)data, all = { whole, sizeof whole };
		if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, address, &all) == 0 && asked.iov_len < all.iov_len) {
			memcpy(whole, asked.iov_base, asked.iov_len);
			return syscall(SYS_ptrace, request, pid, address, &all);
		}
	}
	return syscall(SYS_ptrace, request, pid, address, data);
}
