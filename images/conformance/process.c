/* Processes and threads: how they start, wait for each other, and end. */
#define _GNU_SOURCE
#include "probe.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

static int exit_42(void)
{
	return 42;
}

/* ---- fork and clone ---- */

PROBE(exit_status, "process/exit-status", "wait tells the low eight bits of the exit status.",
	"wait(2)")
{
	demand_equal(in_child(exit_42), 42, "the exit status");
}

static int die_of_segv(void)
{
	raise(SIGSEGV);
	return 1;
}

PROBE(killed_status, "process/killed-status", "wait tells the signal that killed a child.",
	"wait(2)")
{
	demand_equal(in_child(die_of_segv), 128 + SIGSEGV, "the end of the child");
}

PROBE(many_forks, "process/many-forks", "50 children in a row start and end.", "fork(2)")
{
	for (int n = 0; n < 50; n++)
		demand_equal(in_child(exit_42), 42, "the exit status");
}

PROBE(vfork_shares, "process/vfork", "A child of vfork shares memory, and its parent waits for it.",
	"vfork(2)")
{
	static volatile int shared;
	pid_t child = vfork();
	if (!child) {
		shared = 42;
		_exit(7);
	}
	demand_equal(shared, 42, "what the child wrote");
	demand_equal(WEXITSTATUS(wait_for(child)), 7, "the exit status");
}

PROBE(clone3_pidfd, "process/clone3-pidfd",
	"clone3 starts a child with a pidfd that becomes readable at its end.", "clone(2)")
{
	int pidfd = -1;
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} arguments = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
	if (!child)
		_exit(9);
	if (child < 0 && errno == ENOSYS)
		skips("the kernel has no clone3");
	DEMAND(child > 0, "clone3 fails: %s", strerror(errno));
	struct pollfd one = {.fd = pidfd, .events = POLLIN};
	demand_equal(poll(&one, 1, 5000), 1, "the result of poll");
	demand_equal(WEXITSTATUS(wait_for(child)), 9, "the exit status");
}

static int tid_word;

static int wait_and_exit(void *unused)
{
	(void)unused;
	return 0;
}

PROBE(child_tid, "process/clear-child-tid",
	"CLONE_CHILD_CLEARTID clears the word at the end of a thread, and wakes its futex.",
	"clone(2)")
{
	static char stack[65536] __attribute__((aligned(16)));
	tid_word = 1;
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		    CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	int tid =
		clone(wait_and_exit, stack + sizeof stack, flags, NULL, &tid_word, NULL, &tid_word);
	if (tid < 0)
		cannot("clone");
	struct timespec limit = {5, 0};
	while (*(volatile int *)&tid_word == tid)
		if (syscall(SYS_futex, &tid_word, FUTEX_WAIT, tid, &limit, NULL, 0) &&
			errno == ETIMEDOUT)
			differs("the word was not cleared");
	demand_equal(tid_word, 0, "the word");
}

static void *count_up(void *counter)
{
	for (int n = 0; n < 1000; n++)
		__atomic_add_fetch((int *)counter, 1, __ATOMIC_RELAXED);
	return NULL;
}

PROBE(threads, "process/threads", "32 threads at once add to a counter.", "pthread_create(3)")
{
	pthread_t all[32];
	int counter = 0;
	for (int n = 0; n < 32; n++)
		if (pthread_create(&all[n], NULL, count_up, &counter))
			cannot("pthread_create");
	for (int n = 0; n < 32; n++)
		pthread_join(all[n], NULL);
	demand_equal(counter, 32000, "the counter");
}

static void *fork_in_thread(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)in_child(exit_42);
}

PROBE(fork_in_threads, "process/fork-in-thread",
	"A thread forks; the child has that thread alone, and ends.", "fork(2)")
{
	pthread_t thread;
	void *end;
	for (int n = 0; n < 20; n++) {
		pthread_create(&thread, NULL, fork_in_thread, NULL);
		pthread_join(thread, &end);
		demand_equal((long)(intptr_t)end, 42, "the exit status");
	}
}

static void *thread_that_exits(void *unused)
{
	(void)unused;
	syscall(SYS_exit_group, 5);
	return NULL;
}

static int exit_from_thread(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, thread_that_exits, NULL);
	for (;;)
		pause();
	return 1;
}

PROBE(exit_group, "process/exit-group", "exit_group of one thread ends all threads.",
	"exit_group(2)")
{
	demand_equal(in_child(exit_from_thread), 5, "the exit status");
}

static int reparent(void)
{
	if (!fork()) {
		sleep_ms(20);
		_exit(getppid() == 1 ? 1 : 0);
	}
	return 0;
}

PROBE(subreaper, "process/subreaper", "An orphan gets the nearest subreaper as its parent.",
	"PR_SET_CHILD_SUBREAPER(2const)")
{
	int status;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	demand_equal(in_child(reparent), 0, "the end of the child");
	pid_t orphan = waitpid(-1, &status, 0);
	DEMAND(orphan > 0, "there is no orphan to wait for: %s", strerror(errno));
	demand_equal(WEXITSTATUS(status), 0, "the exit status of the orphan");
}

PROBE(waitid_nowait, "process/waitid-nowait", "waitid with WNOWAIT leaves the child waitable.",
	"waitid(2)")
{
	siginfo_t info;
	pid_t child = start(exit_42);
	demand_errno(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0, "waitid");
	demand_equal(info.si_status, 42, "si_status");
	demand_equal(info.si_code, CLD_EXITED, "si_code");
	demand_equal(WEXITSTATUS(wait_for(child)), 42, "the exit status");
}

/* ---- exec: this program, started again with --executed WHAT ---- */

static unsigned int initial_mxcsr(void)
{
	unsigned int mxcsr = 0x1f80;
#ifdef __x86_64__
	__asm__("stmxcsr %0" : "=m"(mxcsr));
#endif
	return mxcsr;
}

int executed(const char *what)
{
	if (!strcmp(what, "stack")) {
		printf("%p\n", (void *)&what);
		return 0;
	}
	struct sigaction one, two;
	stack_t stack;
	sigaction(SIGUSR1, NULL, &one);
	sigaction(SIGUSR2, NULL, &two);
	sigaltstack(NULL, &stack);
	if (!strcmp(what, "signals"))
		return one.sa_handler != SIG_DFL ? 1 : two.sa_handler != SIG_IGN ? 2 : 0;
	if (!strcmp(what, "alternate-stack"))
		return stack.ss_flags != SS_DISABLE;
	if (!strcmp(what, "environment"))
		return (initial_mxcsr() & 0xffc0) != 0x1f80;
	if (!strcmp(what, "name"))
		return strcmp((const char *)getauxval(AT_EXECFN), SELF) != 0;
	return 3;
}

static int execute(const char *what)
{
	pid_t child = fork();
	if (!child) {
		execl(SELF, SELF, "--executed", what, NULL);
		_exit(errno == ENOENT ? 77 : 78);
	}
	int status = wait_for(child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skips("there is no /proc");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void nothing(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
}

PROBE(exec_signals, "process/exec-signals",
	"exec resets handlers to the default action, and keeps ignored signals.", "execve(2)")
{
	on_signal(SIGUSR1, nothing, 0);
	signal(SIGUSR2, SIG_IGN);
	demand_equal(execute("signals"), 0, "what the new program found");
}

PROBE(exec_stack, "process/exec-alternate-stack", "exec disables the alternate stack.", "execve(2)")
{
	static char area[65536];
	sigaltstack(&(stack_t){.ss_sp = area, .ss_size = sizeof area}, NULL);
	demand_equal(execute("alternate-stack"), 0, "what the new program found");
}

#ifdef __x86_64__
PROBE(exec_environment, "process/exec-floating-point",
	"exec resets the floating-point environment.",
	"execve(2): the floating-point environment is reset to the default")
{
	unsigned int mxcsr = 0x7fc0;
	__asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
	demand_equal(execute("environment"), 0, "what the new program found");
}
#endif

PROBE(exec_name, "process/exec-name", "AT_EXECFN is the path that was executed.", "getauxval(3)")
{
	demand_equal(execute("name"), 0, "what the new program found");
}

static void *execute_here(void *unused)
{
	(void)unused;
	execl(SELF, SELF, "--executed", "name", NULL);
	_exit(78);
}

static int execute_in_thread(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, execute_here, NULL);
	for (;;)
		pause();
	return 1;
}

PROBE(exec_threads, "process/exec-in-thread",
	"exec of one thread ends the others; the process keeps its id.", "execve(2)")
{
	demand_equal(in_child(execute_in_thread), 0, "the end of the child");
}

static int memory_file(const void *content, size_t bytes)
{
	int file = (int)syscall(SYS_memfd_create, "program", 0);
	if (file < 0 || write(file, content, bytes) != (ssize_t)bytes || fchmod(file, 0755))
		cannot("memfd_create");
	return file;
}

PROBE(exec_format, "process/exec-format",
	"exec of a file that is not a program fails with ENOEXEC.", "execve(2)")
{
	int file = memory_file("no program", 10);
	char *argv[] = {"x", NULL}, *none[] = {NULL};
	demand_errno(
		syscall(SYS_execveat, file, "", argv, none, AT_EMPTY_PATH), ENOEXEC, "execveat");
}

PROBE(exec_bad_elf, "process/exec-bad-elf",
	"exec of an ELF file for another machine fails with ENOEXEC.", "execve(2)")
{
	Elf64_Ehdr header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_S390,
		.e_version = EV_CURRENT,
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_ehsize = sizeof(Elf64_Ehdr)};
	int file = memory_file(&header, sizeof header);
	char *argv[] = {"x", NULL}, *none[] = {NULL};
	demand_errno(
		syscall(SYS_execveat, file, "", argv, none, AT_EMPTY_PATH), ENOEXEC, "execveat");
}

PROBE(exec_too_big, "process/exec-too-big",
	"exec with a string longer than 128 KiB fails with E2BIG.", "execve(2)")
{
	char *large = malloc(200000);
	memset(large, 'x', 199999);
	large[199999] = 0;
	char *argv[] = {SELF, large, NULL}, *none[] = {NULL};
	demand_errno(execve(SELF, argv, none), E2BIG, "execve");
}

PROBE(exec_missing, "process/exec-missing",
	"exec of a missing file fails with ENOENT, of a directory with EACCES.", "execve(2)")
{
	char *argv[] = {"x", NULL}, *none[] = {NULL};
	demand_errno(execve("/does/not/exist", argv, none), ENOENT, "execve");
	demand_errno(execve("/", argv, none), EACCES, "execve");
}

PROBE(auxv, "process/auxiliary-vector",
	"The auxiliary vector tells page size, program headers, 16 random bytes and clock ticks.",
	"getauxval(3)")
{
	demand_equal((long)getauxval(AT_PAGESZ), sysconf(_SC_PAGESIZE), "AT_PAGESZ");
	demand_equal((long)getauxval(AT_CLKTCK), 100, "AT_CLKTCK");
	demand_equal((long)getauxval(AT_SECURE), 0, "AT_SECURE");
	demand_equal((long)getauxval(AT_UID), getuid(), "AT_UID");
	DEMAND(getauxval(AT_PHDR) && getauxval(AT_PHNUM) && getauxval(AT_ENTRY),
		"program headers are absent");
	DEMAND(getauxval(AT_RANDOM), "AT_RANDOM is absent");
}

/* ---- futexes ---- */

static int word;

static long futex(int operation, int value, const struct timespec *limit)
{
	return syscall(SYS_futex, &word, operation, value, limit, NULL, FUTEX_BITSET_MATCH_ANY);
}

PROBE(futex_value, "process/futex-value", "FUTEX_WAIT on another value fails with EAGAIN.",
	"futex(2)")
{
	word = 1;
	demand_errno(futex(FUTEX_WAIT, 2, NULL), EAGAIN, "futex");
}

PROBE(futex_timeout, "process/futex-timeout",
	"FUTEX_WAIT fails with ETIMEDOUT after its timeout, not before.", "futex(2)")
{
	double before = now();
	demand_errno(futex(FUTEX_WAIT, 0, &(struct timespec){0, 20000000}), ETIMEDOUT, "futex");
	DEMAND(now() - before >= 0.0199, "it returned after %.1f ms of 20",
		(now() - before) * 1000);
}

static void *wake_later(void *unused)
{
	(void)unused;
	sleep_ms(10);
	__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
	futex(FUTEX_WAKE, 1, NULL);
	return NULL;
}

PROBE(futex_wake, "process/futex-wake", "FUTEX_WAKE wakes a waiting thread.", "futex(2)")
{
	pthread_t thread;
	pthread_create(&thread, NULL, wake_later, NULL);
	while (!__atomic_load_n(&word, __ATOMIC_SEQ_CST))
		futex(FUTEX_WAIT, 0, NULL);
	pthread_join(thread, NULL);
}

static int *shared_word;

static int wake_shared(void)
{
	sleep_ms(10);
	__atomic_store_n(shared_word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, shared_word, FUTEX_WAKE, 1, NULL, NULL, 0);
	return 0;
}

PROBE(futex_shared, "process/futex-shared", "A futex in shared memory wakes another process.",
	"futex(2)")
{
	shared_word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = start(wake_shared);
	while (!__atomic_load_n(shared_word, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, shared_word, FUTEX_WAIT, 0, NULL, NULL, 0);
	wait_for(child);
}

PROBE(futex_fault, "process/futex-fault", "A futex in unmapped memory fails with EFAULT.",
	"futex(2)")
{
	char *at = map_pages(1, PROT_READ | PROT_WRITE);
	munmap(at, page_size());
	demand_errno(syscall(SYS_futex, at, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT, "futex");
}

PROBE(futex_pi, "process/futex-pi",
	"FUTEX_LOCK_PI takes a free lock, and FUTEX_UNLOCK_PI releases it.", "futex(2)")
{
	long result = futex(FUTEX_LOCK_PI, 0, NULL);
	if (result && errno == ENOSYS)
		skips("the kernel has no FUTEX_LOCK_PI");
	demand_errno(result, 0, "FUTEX_LOCK_PI");
	demand_equal(word & FUTEX_TID_MASK, (long)syscall(SYS_gettid), "the owner");
	demand_errno(futex(FUTEX_UNLOCK_PI, 0, NULL), 0, "FUTEX_UNLOCK_PI");
	demand_equal(word, 0, "the lock");
}

static void *die_with_lock(void *lock)
{
	pthread_mutex_lock(lock);
	return NULL;
}

PROBE(robust, "process/robust-list",
	"The next owner of a robust mutex learns that the last one died.", "get_robust_list(2)")
{
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_mutexattr_t kind;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&lock, &kind);
	pthread_create(&thread, NULL, die_with_lock, &lock);
	pthread_join(thread, NULL);
	demand_equal(pthread_mutex_lock(&lock), EOWNERDEAD, "the result of pthread_mutex_lock");
}

/* ---- limits and other properties ---- */

PROBE(limit_files, "process/rlimit-nofile", "A descriptor beyond RLIMIT_NOFILE fails with EMFILE.",
	"getrlimit(2)")
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, 3});
	demand_errno(dup(0), EMFILE, "dup");
}

static int write_much(void)
{
	int file = (int)syscall(SYS_memfd_create, "probe", 0);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
	return (int)pwrite(file, "x", 1, 8192);
}

PROBE(limit_size, "process/rlimit-fsize", "A write beyond RLIMIT_FSIZE kills by SIGXFSZ.",
	"getrlimit(2)")
{
	demand_equal(in_child(write_much), 128 + SIGXFSZ, "the end of the child");
}

PROBE(rusage, "process/rusage", "getrusage counts page faults and the processor's time.",
	"getrusage(2)")
{
	struct rusage before, after;
	getrusage(RUSAGE_SELF, &before);
	char *at = map_pages(100, PROT_READ | PROT_WRITE);
	madvise(at, 100 * page_size(), MADV_NOHUGEPAGE);
	for (size_t n = 0; n < 100; n++)
		at[n * page_size()] = 1;
	getrusage(RUSAGE_SELF, &after);
	set_value(after.ru_minflt - before.ru_minflt);
	DEMAND(after.ru_minflt - before.ru_minflt >= 1, "no page fault was counted");
}

PROBE(process_name, "process/name", "PR_SET_NAME is seen in /proc/self/comm.",
	"PR_SET_NAME(2const)")
{
	char name[32] = "";
	prctl(PR_SET_NAME, "probe-name");
	int file = open("/proc/self/comm", O_RDONLY);
	if (file < 0)
		skips("there is no /proc");
	if (read(file, name, sizeof name - 1) < 0)
		cannot("read");
	DEMAND(!strcmp(name, "probe-name\n"), "it is %s", name);
}

static int wait_for_death(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
	return 1;
}

static int leave_child(void)
{
	int ends[2];
	char byte;
	if (pipe(ends))
		return 1;
	pid_t child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(ends[1], "x", 1) != 1)
			_exit(1);
		return wait_for_death();
	}
	return read(ends[0], &byte, 1) == 1 ? 0 : 1;
}

PROBE(death_signal, "process/parent-death-signal",
	"PR_SET_PDEATHSIG kills a child at the end of its parent.", "PR_SET_PDEATHSIG(2const)")
{
	int status;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	demand_equal(in_child(leave_child), 0, "the end of the child");
	pid_t orphan = waitpid(-1, &status, 0);
	DEMAND(orphan > 0, "there is no orphan to wait for: %s", strerror(errno));
	DEMAND(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "wait status %#x",
		(unsigned)status);
}

PROBE(affinity, "process/affinity", "A process that may run on one processor runs there.",
	"sched_setaffinity(2)")
{
	cpu_set_t one;
	unsigned int processor = 0;
	CPU_ZERO(&one);
	if (syscall(SYS_getcpu, &processor, NULL, NULL))
		skips("the kernel has no getcpu");
	CPU_SET(processor, &one);
	demand_errno(sched_setaffinity(0, sizeof one, &one), 0, "sched_setaffinity");
	unsigned int got;
	syscall(SYS_getcpu, &got, NULL, NULL);
	demand_equal(got, processor, "the processor");
}

PROBE(random_addresses, "process/aslr",
	"With randomize_va_space 2, two starts have their stacks at different addresses.",
	"Documentation/admin-guide/sysctl/kernel.rst")
{
	char value = 0;
	unsigned long stacks[4];
	int file = open("/proc/sys/kernel/randomize_va_space", O_RDONLY);
	if (file < 0 || read(file, &value, 1) != 1 || value != '2')
		skips("randomize_va_space is not 2");
	for (int n = 0; n < 4; n++) {
		int ends[2];
		char text[64] = "";
		if (pipe(ends))
			cannot("pipe");
		pid_t child = fork();
		if (!child) {
			dup2(ends[1], 1);
			execl(SELF, SELF, "--executed", "stack", NULL);
			_exit(78);
		}
		close(ends[1]);
		if (read(ends[0], text, sizeof text - 1) <= 0)
			skips("the program cannot be started again");
		close(ends[0]);
		wait_for(child);
		stacks[n] = strtoul(text, NULL, 16);
	}
	set_value((long)stacks[0]);
	errno = 0;
	DEMAND(stacks[0] != stacks[1] || stacks[1] != stacks[2] || stacks[2] != stacks[3],
		"four programs have their stacks at %#lx", stacks[0]);
}
