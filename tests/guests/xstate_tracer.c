/* What a UML kernel before 6.13 does, on this host: read a stopped process's XSAVE area into a
 * buffer of N bytes, change it, write those N bytes back. Prints what came of it, as JSON.
 * All through libc's ptrace(), so that the shim stands between if it is preloaded. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char before[65536], after[65536], part[65536];
static volatile long minus_one = -1;

static long regset(int request, pid_t pid, void *base, size_t *length)
{
	struct iovec vector = { base, *length };
	long result = ptrace(request, pid, (void *)NT_X86_XSTATE, &vector);
	int error = errno;
	*length = vector.iov_len;
	return result < 0 ? -error : result;
}

int main(int argc, char **argv)
{
	size_t shorter = argc > 1 ? (size_t)atoi(argv[1]) : 1088;
	pid_t child = fork();
	if (child == 0) {
		static unsigned char pattern[32] __attribute__((aligned(32)));
		memset(pattern, 0xa5, sizeof pattern);
		/* upper halves of the ymm registers lie beyond the legacy area */
		__asm__ volatile("vmovdqa %0, %%ymm0; vmovdqa %0, %%ymm15" : : "m"(pattern) : "xmm0", "xmm15");
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		__asm__ volatile("syscall" : : "a"(200), "D"(getpid()), "S"(SIGSTOP) : "rcx", "r11", "memory");
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	size_t whole = sizeof before, read_short = shorter, write_short = shorter, again = sizeof after;
	long first = regset(PTRACE_GETREGSET, child, before, &whole);
	long got = regset(PTRACE_GETREGSET, child, part, &read_short);
	part[160] ^= 0xff; /* xmm0, byte 0: in the part that the kernel knows of */
	long set = regset(PTRACE_SETREGSET, child, part, &write_short);
	long second = regset(PTRACE_GETREGSET, child, after, &again);
	int changed = after[160] == (before[160] ^ 0xff);
	after[160] = before[160];
	errno = 0;
	long peeked = ptrace(PTRACE_PEEKDATA, child, (void *)&minus_one, 0);
	int peek_errno = errno;
	errno = 0;
	long bad = ptrace(PTRACE_PEEKDATA, child, (void *)8, 0);
	int bad_errno = errno;
	struct user_regs_struct registers;
	long getregs = ptrace(PTRACE_GETREGS, child, 0, &registers);
	printf("{\"whole\":%zu,\"first\":%ld,\"got\":%ld,\"set\":%ld,\"second\":%ld,\"changed\":%d,"
	       "\"rest_kept\":%d,\"peeked\":%ld,\"peek_errno\":%d,\"bad\":%ld,\"bad_errno\":%d,\"getregs\":%ld}\n",
	       whole, first, got, set, second, changed, whole == again && !memcmp(before, after, whole),
	       peeked, peek_errno, bad, bad_errno, getregs);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return 0;
}
