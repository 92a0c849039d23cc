/* ptrace: what debuggers, strace and sandboxes need. */
#define _GNU_SOURCE
#include "probe.h"

#include <elf.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static int status;
static volatile long word = 1;

static long request(int what, pid_t child, uintptr_t address, uintptr_t data)
{
	return syscall(SYS_ptrace, what, child, address, data);
}

/* Fork a child that stops and then runs; wait for its stop. */
static pid_t traced(int (*run)(void), long options)
{
	pid_t child = fork();
	if (!child) {
		if (request(PTRACE_TRACEME, 0, 0, 0))
			_exit(99);
		raise(SIGSTOP);
		_exit(run());
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		cannot("waitpid");
	if (request(PTRACE_SETOPTIONS, child, 0, (uintptr_t)(PTRACE_O_EXITKILL | options)))
		cannot("PTRACE_SETOPTIONS");
	return child;
}

/* Let it run until its next stop, and return the signal of the stop with the event above it. */
static int resume(int how, pid_t child, int signal_number)
{
	if (request(how, child, 0, (uintptr_t)signal_number))
		cannot("ptrace");
	if (waitpid(child, &status, __WALL) != child)
		cannot("waitpid");
	return WIFSTOPPED(status) ? status >> 8 : 0;
}

static int call_getppid(void)
{
	return syscall(SYS_getppid) > 0 ? 0 : 1;
}

PROBE(peek_poke, "ptrace/peek-poke",
	"PTRACE_PEEKDATA and PTRACE_POKEDATA read and write a word of the child.", "ptrace(2)")
{
	long got;
	word = 4711;
	pid_t child = traced(call_getppid, 0);
	demand_errno(request(PTRACE_PEEKDATA, child, (uintptr_t)&word, (uintptr_t)&got), 0,
		"PTRACE_PEEKDATA");
	demand_equal(got, 4711, "the word");
	demand_errno(request(PTRACE_POKEDATA, child, (uintptr_t)&word, 4712), 0, "PTRACE_POKEDATA");
	request(PTRACE_PEEKDATA, child, (uintptr_t)&word, (uintptr_t)&got);
	demand_equal(got, 4712, "the word that was written");
	demand_equal(word, 4711, "the word of the parent");
}

static int call_code(void)
{
	return 0;
}

PROBE(poke_text, "ptrace/poke-text",
	"PTRACE_POKETEXT writes into read-only code, as breakpoints need.", "ptrace(2)")
{
	long before, after;
	pid_t child = traced(call_code, 0);
	uintptr_t place = (uintptr_t)call_code & ~7UL;
	demand_errno(
		request(PTRACE_PEEKTEXT, child, place, (uintptr_t)&before), 0, "PTRACE_PEEKTEXT");
	demand_errno(
		request(PTRACE_POKETEXT, child, place, (uintptr_t)~before), 0, "PTRACE_POKETEXT");
	request(PTRACE_PEEKTEXT, child, place, (uintptr_t)&after);
	demand_equal(after, ~before, "the word that was written");
	request(PTRACE_POKETEXT, child, place, (uintptr_t)before);
	demand_equal(resume(PTRACE_CONT, child, 0), 0, "the next stop");
	demand_equal(status, 0, "the wait status");
}

PROBE(peek_unmapped, "ptrace/peek-unmapped", "PTRACE_PEEKDATA of unmapped memory fails with EIO.",
	"ptrace(2)")
{
	long got;
	pid_t child = traced(call_code, 0);
	demand_errno(request(PTRACE_PEEKDATA, child, 8, (uintptr_t)&got), EIO, "PTRACE_PEEKDATA");
}

PROBE(syscall_stops, "ptrace/syscall-stops",
	"PTRACE_SYSCALL stops before and after each call; TRACESYSGOOD marks the stops.",
	"ptrace(2)")
{
	pid_t child = traced(call_getppid, PTRACE_O_TRACESYSGOOD);
	/* after the kill of raise there may be others of the C library */
	int stops = 0;
	while (resume(PTRACE_SYSCALL, child, 0)) {
		demand_equal(WSTOPSIG(status), SIGTRAP | 0x80, "the signal of a stop");
		DEMAND(++stops < 1000, "there is no end of stops");
	}
	set_value(stops);
	/* at least the two of getppid, and the one before exit_group */
	DEMAND(stops >= 3 && stops % 2 == 1, "%d stops", stops);
}

#ifdef __x86_64__
PROBE(syscall_number, "ptrace/syscall-registers",
	"At the stop before a call orig_rax is its number and rax is -ENOSYS; at the stop after it "
	"rax is its result.",
	"ptrace(2); arch/x86/entry/calling.h")
{
	struct user_regs_struct registers;
	bool found = false;
	pid_t child = traced(call_getppid, PTRACE_O_TRACESYSGOOD);
	while (!found && resume(PTRACE_SYSCALL, child, 0)) {
		request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
		if (registers.orig_rax != SYS_getppid)
			continue;
		found = true;
		demand_equal((long)registers.rax, -ENOSYS, "rax before the call");
		resume(PTRACE_SYSCALL, child, 0);
		request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
		demand_equal((long)registers.rax, getpid(), "rax after the call");
		demand_equal((long)registers.orig_rax, SYS_getppid, "orig_rax after the call");
	}
	DEMAND(found, "the call was not seen");
}

static int result_of_getppid(void)
{
	return syscall(SYS_getppid) == 4711 ? 42 : 1;
}

/* Replace the number of a traced child's getppid; return its registers at the exit of the call. */
static struct user_regs_struct replace_getppid(pid_t child, unsigned long number)
{
	struct user_regs_struct registers;
	while (resume(PTRACE_SYSCALL, child, 0)) {
		request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
		if (registers.orig_rax != SYS_getppid)
			continue;
		registers.orig_rax = number;
		request(PTRACE_SETREGS, child, 0, (uintptr_t)&registers);
		resume(PTRACE_SYSCALL, child, 0);
		request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
		return registers;
	}
	differs("the call was not seen");
}

PROBE(skip_syscall, "ptrace/skip-syscall",
	"A tracer that sets orig_rax to -1 skips the call, and may set its result.",
	"ptrace(2); sandboxes depend on it")
{
	pid_t child = traced(result_of_getppid, PTRACE_O_TRACESYSGOOD);
	struct user_regs_struct registers = replace_getppid(child, (unsigned long)-1);
	demand_equal((long)registers.rax, -ENOSYS, "rax after the skipped call");
	registers.rax = 4711;
	request(PTRACE_SETREGS, child, 0, (uintptr_t)&registers);
	demand_equal(resume(PTRACE_CONT, child, 0), 0, "the next stop");
	demand_equal(WEXITSTATUS(status), 42, "the exit status of the child");
}

PROBE(change_syscall, "ptrace/change-syscall", "A tracer may replace a call by another one.",
	"ptrace(2)")
{
	pid_t child = traced(result_of_getppid, PTRACE_O_TRACESYSGOOD);
	struct user_regs_struct registers = replace_getppid(child, SYS_getpid);
	demand_equal((long)registers.rax, child, "the result");
}

PROBE(set_ip, "ptrace/set-instruction-pointer",
	"PTRACE_SETREGS changes the place at which the child resumes.", "ptrace(2)")
{
	struct user_regs_struct registers;
	pid_t child = traced(call_code, 0);
	request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
	registers.rip = 8;
	demand_errno(request(PTRACE_SETREGS, child, 0, (uintptr_t)&registers), 0, "PTRACE_SETREGS");
	demand_equal(resume(PTRACE_CONT, child, 0), SIGSEGV, "the next stop");
	request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
	demand_equal((long)registers.rip, 8, "the place");
}

PROBE(flags, "ptrace/flags", "PTRACE_SETREGS sets and clears the flags of the child.", "ptrace(2)")
{
	enum { CARRY = 1, DIRECTION = 0x400 };
	struct user_regs_struct registers;
	pid_t child = traced(call_code, 0);
	request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
	registers.eflags |= CARRY | DIRECTION;
	demand_errno(request(PTRACE_SETREGS, child, 0, (uintptr_t)&registers), 0, "PTRACE_SETREGS");
	request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
	demand_equal((long)registers.eflags & (CARRY | DIRECTION), CARRY | DIRECTION,
		"the flags that were set");
	registers.eflags &= ~(unsigned long)(CARRY | DIRECTION);
	request(PTRACE_SETREGS, child, 0, (uintptr_t)&registers);
	request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
	demand_equal(
		(long)registers.eflags & (CARRY | DIRECTION), 0, "the flags that were cleared");
}

PROBE(bases, "ptrace/fs-base", "PTRACE_GETREGS tells the base of FS.", "ptrace(2)")
{
	struct user_regs_struct registers;
	unsigned long own = 0;
	syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &own);
	pid_t child = traced(call_code, 0);
	request(PTRACE_GETREGS, child, 0, (uintptr_t)&registers);
	demand_equal((long)registers.fs_base, (long)own, "fs_base");
	demand_equal((long)registers.cs, 0x33, "cs");
}

static unsigned char value[16] = "fifteen bytes..";

static int hold_xmm(void)
{
	long result = SYS_kill;
	__asm__ volatile("movdqu (%1), %%xmm7; syscall; movdqu %%xmm7, (%1)"
		: "+a"(result)
		: "r"(value), "D"((long)getpid()), "S"((long)SIGUSR1)
		: "rcx", "r11", "memory", "xmm7");
	return value[0] == 'F' ? 42 : 1;
}

PROBE(fp_registers, "ptrace/floating-point",
	"PTRACE_GETFPREGS and PTRACE_SETFPREGS read and write xmm registers.", "ptrace(2)")
{
	struct user_fpregs_struct registers;
	pid_t child = traced(hold_xmm, 0);
	demand_equal(resume(PTRACE_CONT, child, 0), SIGUSR1, "the next stop");
	demand_errno(
		request(PTRACE_GETFPREGS, child, 0, (uintptr_t)&registers), 0, "PTRACE_GETFPREGS");
	unsigned char *xmm7 = (unsigned char *)registers.xmm_space + 7 * 16;
	DEMAND(!memcmp(xmm7, value, 16), "xmm7 is %.16s", xmm7);
	xmm7[0] = 'F';
	demand_errno(
		request(PTRACE_SETFPREGS, child, 0, (uintptr_t)&registers), 0, "PTRACE_SETFPREGS");
	resume(PTRACE_CONT, child, 0);
	demand_equal(WEXITSTATUS(status), 42, "the exit status of the child");
}

PROBE(extended_registers, "ptrace/extended-state",
	"If the processor has XSAVE, PTRACE_GETREGSET reads NT_X86_XSTATE.", "ptrace(2)")
{
	static char state[65536];
	struct iovec vector = {state, sizeof state};
	unsigned int a = 1, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (!(c & 1U << 27))
		skips("the processor has no XSAVE");
	pid_t child = traced(hold_xmm, 0);
	resume(PTRACE_CONT, child, 0);
	demand_errno(
		request(PTRACE_GETREGSET, child, 0x202, (uintptr_t)&vector), 0, "PTRACE_GETREGSET");
	set_value((long)vector.iov_len);
	DEMAND(!memcmp(state + 160 + 7 * 16, value, 16), "xmm7 is wrong");
}
#endif

PROBE(regset, "ptrace/general-regset", "PTRACE_GETREGSET reads NT_PRSTATUS.", "ptrace(2)")
{
	struct user_regs_struct registers;
	struct iovec vector = {&registers, sizeof registers};
	pid_t child = traced(call_code, 0);
	demand_errno(request(PTRACE_GETREGSET, child, NT_PRSTATUS, (uintptr_t)&vector), 0,
		"PTRACE_GETREGSET");
	demand_equal((long)vector.iov_len, sizeof registers, "the size");
}

PROBE(syscall_info, "ptrace/syscall-info", "PTRACE_GET_SYSCALL_INFO tells the number of the call.",
	"ptrace(2)")
{
	struct ptrace_syscall_info info;
	bool found = false;
	pid_t child = traced(call_getppid, PTRACE_O_TRACESYSGOOD);
	while (!found && resume(PTRACE_SYSCALL, child, 0)) {
		memset(&info, 0, sizeof info);
		long bytes = request(PTRACE_GET_SYSCALL_INFO, child, sizeof info, (uintptr_t)&info);
		if (bytes < 0 && errno == EIO)
			skips("the kernel has no PTRACE_GET_SYSCALL_INFO");
		DEMAND(bytes > 0, "it fails: %s", strerror(errno));
		found = info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_getppid;
	}
	DEMAND(found, "the call was not seen");
#ifdef __x86_64__
	demand_equal((long)info.arch, 0xc000003e, "the architecture");
#endif
}

static int start_grandchild(void)
{
	pid_t child = fork();
	if (!child)
		_exit(3);
	return WEXITSTATUS(wait_for(child));
}

PROBE(fork_event, "ptrace/fork-event",
	"PTRACE_O_TRACEFORK stops at fork, tells the new process, and attaches to it.", "ptrace(2)")
{
	unsigned long grandchild = 0;
	int grandchild_status;
	pid_t child = traced(start_grandchild, PTRACE_O_TRACEFORK);
	demand_equal(resume(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_FORK << 8, "the event");
	demand_errno(request(PTRACE_GETEVENTMSG, child, 0, (uintptr_t)&grandchild), 0,
		"PTRACE_GETEVENTMSG");
	demand_equal(waitpid((pid_t)grandchild, &grandchild_status, __WALL), (long)grandchild,
		"the result of waitpid");
	DEMAND(WIFSTOPPED(grandchild_status) && WSTOPSIG(grandchild_status) == SIGSTOP,
		"wait status %#x", (unsigned)grandchild_status);
}

static int exit_9(void)
{
	return 9;
}

PROBE(exit_event, "ptrace/exit-event",
	"PTRACE_O_TRACEEXIT stops before the end, and tells the status.", "ptrace(2)")
{
	unsigned long end = 0;
	pid_t child = traced(exit_9, PTRACE_O_TRACEEXIT);
	demand_equal(resume(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_EXIT << 8, "the event");
	request(PTRACE_GETEVENTMSG, child, 0, (uintptr_t)&end);
	demand_equal((long)end, 9 << 8, "the status");
}

static int execute_again(void)
{
	execl("/proc/self/exe", "/proc/self/exe", "--executed", "nothing", NULL);
	return 77;
}

PROBE(exec_event, "ptrace/exec-event", "PTRACE_O_TRACEEXEC stops after exec.", "ptrace(2)")
{
	pid_t child = traced(execute_again, PTRACE_O_TRACEEXEC);
	demand_equal(resume(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_EXEC << 8, "the event");
	demand_equal(resume(PTRACE_CONT, child, 0), 0, "the next stop");
}

static int raise_usr1(void)
{
	raise(SIGUSR1);
	return 5;
}

PROBE(suppress_signal, "ptrace/suppress-signal",
	"A tracer that resumes without the signal suppresses it.", "ptrace(2)")
{
	siginfo_t info;
	pid_t child = traced(raise_usr1, 0);
	demand_equal(resume(PTRACE_CONT, child, 0), SIGUSR1, "the next stop");
	demand_errno(
		request(PTRACE_GETSIGINFO, child, 0, (uintptr_t)&info), 0, "PTRACE_GETSIGINFO");
	demand_equal(info.si_code, SI_TKILL, "si_code");
	resume(PTRACE_CONT, child, 0);
	DEMAND(WIFEXITED(status) && WEXITSTATUS(status) == 5, "wait status %#x", (unsigned)status);
}

PROBE(change_signal, "ptrace/change-signal",
	"A tracer that resumes with another signal delivers that.", "ptrace(2)")
{
	pid_t child = traced(raise_usr1, 0);
	resume(PTRACE_CONT, child, 0);
	resume(PTRACE_CONT, child, SIGUSR2);
	DEMAND(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2, "wait status %#x",
		(unsigned)status);
}

static int sleep_long(void)
{
	for (;;)
		pause();
	return 1;
}

PROBE(seize, "ptrace/seize", "PTRACE_SEIZE does not stop the child; PTRACE_INTERRUPT does.",
	"ptrace(2)")
{
	pid_t child = start(sleep_long);
	demand_errno(request(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL), 0, "PTRACE_SEIZE");
	sleep_ms(5);
	demand_equal(waitpid(child, &status, WNOHANG | __WALL), 0,
		"the result of waitpid before the interrupt");
	demand_errno(request(PTRACE_INTERRUPT, child, 0, 0), 0, "PTRACE_INTERRUPT");
	demand_equal(waitpid(child, &status, __WALL), child, "the result of waitpid");
	demand_equal(status >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8, "the event");
}

PROBE(attach, "ptrace/attach", "PTRACE_ATTACH stops a running process, PTRACE_DETACH lets it go.",
	"ptrace(2)")
{
	pid_t child = start(sleep_long);
	demand_errno(request(PTRACE_ATTACH, child, 0, 0), 0, "PTRACE_ATTACH");
	demand_equal(waitpid(child, &status, __WALL), child, "the result of waitpid");
	demand_equal(status >> 8, SIGSTOP, "the signal of the stop");
	demand_errno(request(PTRACE_DETACH, child, 0, 0), 0, "PTRACE_DETACH");
	kill(child, SIGKILL);
	wait_for(child);
}

PROBE(not_traced, "ptrace/not-stopped",
	"A request to a process that is not traced fails with ESRCH.", "ptrace(2)")
{
	pid_t child = start(sleep_long);
	demand_errno(request(PTRACE_CONT, child, 0, 0), ESRCH, "PTRACE_CONT");
	kill(child, SIGKILL);
	wait_for(child);
}

PROBE(signal_mask, "ptrace/signal-mask",
	"PTRACE_GETSIGMASK tells the blocked signals of the child.", "ptrace(2)")
{
	uint64_t mask = 0;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid_t child = traced(call_code, 0);
	demand_errno(request(PTRACE_GETSIGMASK, child, sizeof mask, (uintptr_t)&mask), 0,
		"PTRACE_GETSIGMASK");
	demand_equal((long)mask, 1L << (SIGUSR2 - 1), "the mask");
}
