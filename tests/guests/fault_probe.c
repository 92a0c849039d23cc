/* Calls that faults and filters are about, from a process and from its child. Prints what they gave. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *map(unsigned long hint)
{
	int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	return mmap((void *)hint, 1 << 20, protection, flags, -1, 0);
}

static void tell(const char *name, void *got)
{
	if (got == MAP_FAILED)
		printf("%s errno %d\n", name, errno);
	else
		printf("%s %p\n", name, got);
	fflush(stdout);
}

int main(void)
{
	int status;
	void *last;
	tell("one", map(0x60000000));
	tell("two", last = map(0x61000000));
	if (last != MAP_FAILED && mprotect(last, 65536, PROT_READ | PROT_EXEC) < 0)
		tell("exec", MAP_FAILED);
	if (syscall(SYS_personality, ADDR_COMPAT_LAYOUT) < 0) /* that of i386's glibc sets no errno */
		tell("personality", MAP_FAILED);
	if (fork() == 0) {
		tell("child", map(0x62000000));
		_exit(3);
	}
	return wait(&status) < 0 || WEXITSTATUS(status) != 3;
}
