#include "syscall_regs.h"

#include <stddef.h>
#include <sys/syscall.h>

/* arch/x86/entry/syscalls/syscall_32.tbl, arch/arm/tools/syscall.tbl */
#ifdef __x86_64__
#define BOTH(name, i386, arm) {SYS_##name, i386},
#define ON_X86(name, i386) {SYS_##name, i386},
#elif defined __aarch64__
#define BOTH(name, i386, arm) {SYS_##name, arm},
#define ON_X86(name, i386)
#else
#define BOTH(name, i386, arm)
#define ON_X86(name, i386)
#endif

static const struct {
	long number, compat;
} calls[] = {
	/* clang-format off */
	BOTH(exit, 1, 1) BOTH(execve, 11, 11) BOTH(brk, 45, 45) BOTH(setrlimit, 75, 75)
	BOTH(munmap, 91, 91) BOTH(clone, 120, 120) BOTH(mprotect, 125, 125)
	BOTH(personality, 136, 136) BOTH(mremap, 163, 163) BOTH(getrlimit, 191, 191)
	BOTH(mmap, 192, 192) /* mmap2: it differs in the unit of the offset */
	BOTH(mincore, 218, 219) BOTH(madvise, 219, 220) BOTH(io_setup, 245, 243)
	BOTH(io_destroy, 246, 244) BOTH(exit_group, 252, 248) BOTH(remap_file_pages, 257, 253)
	BOTH(prlimit64, 340, 369) BOTH(execveat, 358, 387) BOTH(userfaultfd, 374, 388)
	BOTH(pkey_mprotect, 380, 394) BOTH(shmget, 395, 307) BOTH(shmat, 397, 305)
	BOTH(shmdt, 398, 306) BOTH(io_uring_setup, 425, 425) BOTH(clone3, 435, 435)
	BOTH(process_madvise, 440, 440) BOTH(mseal, 462, 462)
	ON_X86(fork, 2) ON_X86(vfork, 190)
#ifdef __x86_64__
	{OLD_MMAP, 90},
#endif
	/* clang-format on */
	{NO_CALL, NO_CALL},
};
enum { CALLS = sizeof calls / sizeof *calls };

long call_of_compat(long number)
{
	for (size_t i = 0; i < CALLS; i++)
		if (calls[i].compat == number)
			return calls[i].number;
	return OTHER_CALL;
}

long compat_of_call(long number)
{
	for (size_t i = 0; i < CALLS; i++)
		if (calls[i].number == number)
			return calls[i].compat;
	return OTHER_CALL;
}
