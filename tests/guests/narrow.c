/* What a program sees of the end of its address space, one line a call. `narrow END` asks in every
 * way that there is, about END too; `narrow END loop` maps and unmaps in threads for ever. Linked
 * statically, so that the kernel's own choices are the same wherever the kernel is. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANY (MAP_PRIVATE | MAP_ANONYMOUS)
#define PROBE 65536UL
#define LOW 0x3000000000UL /* below the end, free, and far from all else */

static unsigned long end;

static char *say(const char *what, void *got)
{
	if (got == MAP_FAILED)
		printf("%s: errno %d\n", what, errno);
	else
		printf("%s: %p\n", what, got);
	fflush(stdout);
	return got;
}

static void said(const char *what, int result)
{
	printf("%s: %d, errno %d\n", what, result, result ? errno : 0);
	fflush(stdout);
}

static char *ask(unsigned long address, size_t length, int flags)
{
	return mmap((void *)address, length, PROT_NONE, ANY | MAP_NORESERVE | flags, -1, 0);
}

static void *page(void) { return mmap(NULL, 4096, PROT_READ | PROT_WRITE, ANY, -1, 0); }

static void *busy(void *forever)
{
	unsigned long beyond = 0;
	for (int i = 0; i < 100 || forever; i++) {
		char *block = mmap(NULL, PROBE, PROT_READ | PROT_WRITE, ANY, -1, 0);
		beyond |= (unsigned long)block + PROBE > end;
		block[PROBE - 1] = 1;
		if (i & 1 || forever)
			munmap(block, PROBE);
	}
	return (void *)beyond;
}

static void threads(void *forever)
{
	pthread_t all[4];
	void *beyond, *any = NULL;
	for (int i = 0; i < 4; i++)
		pthread_create(&all[i], NULL, busy, forever);
	for (int i = 0; i < 4; i++) {
		pthread_join(all[i], &beyond);
		any = beyond ? beyond : any;
	}
	said("a thread was given something beyond the end", any != NULL);
}

static void mappings(void)
{
	say("anywhere", ask(0, PROBE, 0));
	say("a hint beyond", ask(end + (1UL << 38), PROBE, 0));
	say("a hint below", ask(LOW, PROBE, 0));
	say("a hint that is taken", ask(LOW, PROBE, 0));
	say("a hint between two pages", ask(LOW + PROBE + 100, PROBE, 0));
	say("a hint across the end", ask(end - 4096, PROBE, 0));
	say("insisting beyond", ask(end + (1UL << 38), PROBE, MAP_FIXED));
	say("insisting across the end", ask(end - 4096, PROBE, MAP_FIXED));
	say("insisting below", ask(LOW, 4096, MAP_FIXED));
	say("not replacing, beyond", ask(end + (1UL << 38), PROBE, MAP_FIXED_NOREPLACE));
	say("not replacing, taken", ask(LOW, 4096, MAP_FIXED_NOREPLACE));
	say("insisting on half a page", ask(LOW + 100, 4096, MAP_FIXED));
	say("nothing", ask(0, 0, 0));
	say("more than all", ask(0, end + 4096, 0));
	say("most of it", ask(0, end / 2, 0));
	say("most of it again", ask(0, end / 2, 0));
	said("unmap beyond", munmap((void *)(end + (1UL << 38)), 4096));
	said("unmap across the end", munmap((void *)(end - 4096), 8192));
	said("unmap what is free", munmap((void *)(LOW + (1UL << 30)), 4096));
	said("unmap half a page", munmap((void *)(LOW + 1), 4096));
	said("protect beyond", mprotect((void *)(end + (1UL << 38)), 4096, PROT_READ));
	said("advise beyond", madvise((void *)(end + (1UL << 38)), 4096, MADV_DONTNEED));
}

static void moves(void)
{
	char *block = mmap(NULL, 8192, PROT_READ | PROT_WRITE, ANY, -1, 0);
	ask((unsigned long)block + 8192, 4096, MAP_FIXED_NOREPLACE);
	strcpy(say("a block, and one behind it", block), "whole");
	say("grow in its place", mremap(block, 8192, 1 << 20, 0));
	block = say("grow", mremap(block, 8192, 1 << 20, MREMAP_MAYMOVE));
	block = say("shrink", mremap(block, 1 << 20, PROBE, 0));
	block = say("grow where it was", mremap(block, PROBE, 1 << 20, MREMAP_MAYMOVE));
	say("move beyond", mremap(block, 1 << 20, 1 << 20, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(end + 4096)));
	say("grow beyond all", mremap(block, 1 << 20, end + 4096, MREMAP_MAYMOVE));
	block = say("move below", mremap(block, 1 << 20, 1 << 20, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(LOW + (1UL << 31))));
	block = say("move, and leave it", mremap(block, 1 << 20, 1 << 20, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
	said(block == MAP_FAILED ? "lost" : block, 0);
	int segment = shmget(IPC_PRIVATE, 100000, 0600);
	say("attach", shmat(segment, NULL, 0));
	say("attach beyond", shmat(segment, (void *)(end + (1UL << 38)), 0));
	say("attach below", shmat(segment, (void *)(LOW + (1UL << 32)), 0));
	shmctl(segment, IPC_RMID, NULL);
}

static void *become(void *argv)
{
	execv("/proc/self/exe", argv);
	return NULL;
}

int main(int argc, char **argv)
{
	char *child[] = { argv[0], argv[1], "child", NULL };
	pthread_t thread;
	end = strtoul(argv[1], NULL, 0);
	if (argc > 2 && !strcmp(argv[2], "loop"))
		threads("for ever");
	if (argc > 2) {
		say("a child", page());
		return 0;
	}
	mappings();
	moves();
	threads(NULL);
	if (!fork()) {
		say("forked", page());
		_exit(0);
	}
	wait(NULL);
	if (!vfork())
		become(child);
	wait(NULL);
	say("after them", page());
	pthread_create(&thread, NULL, become, child); /* which ends all others */
	pthread_join(thread, NULL);
	return 1;
}
