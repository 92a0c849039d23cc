/* Traps: single steps, breakpoints, watchpoints, and other ways into the kernel. x86-64 only. */
#ifdef __x86_64__
#define _GNU_SOURCE
#include "probe.h"

#include <asm/ldt.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef TRAP_TRACE
#define TRAP_TRACE 2
#define TRAP_HWBKPT 4
#endif
enum { TF = 0x100 };

static volatile sig_atomic_t traps;
static volatile int code;
static volatile unsigned long places[64];
static volatile unsigned long entry_flags;

static void note_trap(int number, siginfo_t *info, void *context)
{
	unsigned long flags;
	(void)number;
	__asm__ volatile("pushfq; popq %0" : "=r"(flags));
	entry_flags |= flags;
	code = info->si_code;
	const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (traps < 64)
		places[traps] = (unsigned long)registers[REG_RIP];
	traps++;
}

static void clear_flag_on_trap(int number, siginfo_t *info, void *context)
{
	note_trap(number, info, context);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TF;
}

#define STEP_SOURCE                                                                                \
	"Intel SDM volume 3, 18.3.1.4: single-step exception after the instruction that follows"

/* popf sets TF; each of three nops, and the pushf, is followed by a trap. */
static void step_over_nops(unsigned long *first)
{
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0\n"
			 "pushfq; orl $0x100, (%%rsp); popfq\n"
			 "nop; 1: nop; nop; pushfq; andl $~0x100, (%%rsp); popfq\n"
			 "nop"
		: "=m"(*first)::"rax", "cc", "memory");
}

PROBE(trap_flag, "trap/flag",
	"With the trap flag set, each instruction is followed by SIGTRAP with TRAP_TRACE.",
	STEP_SOURCE)
{
	unsigned long first = 0;
	on_signal(SIGTRAP, note_trap, 0);
	step_over_nops(&first);
	set_value(traps);
	/* 3 nops, pushf, and, popf */
	DEMAND(traps == 6, "%d traps over 6 instructions", (int)traps);
	demand_equal(code, TRAP_TRACE, "si_code");
	demand_equal((long)places[0], (long)first, "the place of the first trap");
}

PROBE(trap_flag_clear, "trap/flag-clear-in-handler",
	"The handler of a single step runs with the trap flag clear.",
	"arch/x86/kernel/signal.c, handle_signal: clear TF for the signal handler")
{
	unsigned long first = 0;
	on_signal(SIGTRAP, note_trap, 0);
	step_over_nops(&first);
	DEMAND(traps, "there was no single step");
	DEMAND(!(entry_flags & TF), "the handler was entered with the trap flag set");
}

PROBE(trap_flag_off, "trap/flag-cleared-by-handler",
	"A handler that clears the trap flag in its context ends single-stepping.", "sigreturn(2)")
{
	on_signal(SIGTRAP, clear_flag_on_trap, 0);
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; nop" ::: "cc", "memory");
	demand_equal(traps, 1, "the number of traps");
}

static void set_flag(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TF;
}

PROBE(trap_flag_set, "trap/flag-set-by-handler",
	"If a handler sets the trap flag in its context, sigreturn starts single-stepping.",
	"sigreturn(2)")
{
	on_signal(SIGUSR1, set_flag, 0);
	on_signal(SIGTRAP, clear_flag_on_trap, 0);
	raise(SIGUSR1);
	demand_equal(traps, 1, "the number of traps");
	demand_equal(code, TRAP_TRACE, "si_code");
}

PROBE(trap_flag_syscall, "trap/flag-over-syscall",
	"A system call does not clear the trap flag. SIGTRAP follows the next instruction.",
	STEP_SOURCE)
{
	unsigned long after = 0, result = SYS_getpid;
	on_signal(SIGTRAP, note_trap, 0);
	__asm__ volatile("lea 1f(%%rip), %%r8; mov %%r8, %0\n"
			 "pushfq; orl $0x100, (%%rsp); popfq\n"
			 "syscall\n"
			 "1: nop; nop\n"
			 "pushfq; andl $~0x100, (%%rsp); popfq\n"
		: "=m"(after), "+a"(result)::"r8", "rcx", "r11", "cc", "memory");
	demand_equal((long)result, getpid(), "the result of the call");
	bool found = false;
	for (int n = 0; n < traps && n < 64; n++)
		found |= places[n] == after + 1;
	set_value(traps);
	DEMAND(found, "no trap after the instruction that follows the call, %d traps in all",
		(int)traps);
}

PROBE(breakpoint, "trap/int3", "int3 raises SIGTRAP with SI_KERNEL, and resumes after it.",
	"arch/x86/kernel/traps.c, do_int3_user: SIGTRAP without more")
{
	unsigned long after;
	on_signal(SIGTRAP, note_trap, 0);
	__asm__ volatile("lea 1f(%%rip), %0; int3; 1:" : "=r"(after));
	demand_equal(traps, 1, "the number of traps");
	demand_equal(code, SI_KERNEL, "si_code");
	demand_equal((long)places[0], (long)after, "the place of the trap");
}

enum { INT1 = 0xf1 };

/* A virtual AMD processor may stop before int1, where it would stop again for ever. */
static void note_int1(int number, siginfo_t *info, void *context)
{
	note_trap(number, info, context);
	if (*(const unsigned char *)places[0] == INT1)
		skips("this processor stops before int1, not after it");
}

PROBE(icebp, "trap/icebp", "int1 (ICEBP) raises SIGTRAP with TRAP_BRKPT.",
	"arch/x86/kernel/traps.c, exc_debug_user: get_si_code of an icebp")
{
	on_signal(SIGTRAP, note_int1, 0);
	__asm__ volatile(".byte %c0" ::"i"(INT1));
	demand_equal(traps, 1, "the number of traps");
	demand_equal(code, TRAP_BRKPT, "si_code");
}

/* ---- a traced child ---- */

static int child_status;

/* Fork a child that stops and then runs; wait for its stop. */
static pid_t traced(void (*run)(void))
{
	pid_t child = fork();
	if (!child) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(99);
		raise(SIGSTOP);
		run();
		_exit(0);
	}
	if (waitpid(child, &child_status, 0) != child || !WIFSTOPPED(child_status))
		cannot("waitpid");
	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL);
	return child;
}

static int resume(int request, pid_t child)
{
	if (ptrace(request, child, 0, 0))
		cannot("ptrace");
	if (waitpid(child, &child_status, __WALL) != child)
		cannot("waitpid");
	return WIFSTOPPED(child_status) ? WSTOPSIG(child_status) : 0;
}

static unsigned long ip_of(pid_t child)
{
	struct user_regs_struct registers;
	if (ptrace(PTRACE_GETREGS, child, 0, &registers))
		cannot("PTRACE_GETREGS");
	return registers.rip;
}

extern const char step_first[], step_call[], step_after[], step_end[];
__attribute__((noinline, used)) static void stepped(void)
{
	__asm__ volatile("int3\n"
			 ".globl step_first, step_call, step_after, step_end\n"
			 "step_first: nop; nop; xor %%edx, %%edx\n"
			 "mov $39, %%eax\n"
			 "step_call: syscall\n"
			 "step_after: nop; nop\n"
			 "step_end: nop" ::
				 : "rax", "rcx", "r11", "rdx", "memory");
}

PROBE(single_step, "trap/ptrace-step",
	"PTRACE_SINGLESTEP runs exactly one instruction, and reports SIGTRAP with TRAP_TRACE.",
	"ptrace(2)")
{
	siginfo_t info;
	pid_t child = traced(stepped);
	demand_equal(resume(PTRACE_CONT, child), SIGTRAP, "the stop at int3");
	demand_equal((long)ip_of(child), (long)step_first, "the place of the stop at int3");
	demand_equal(resume(PTRACE_SINGLESTEP, child), SIGTRAP, "the stop after a step");
	demand_equal((long)ip_of(child), (long)step_first + 1, "the place after a step");
	ptrace(PTRACE_GETSIGINFO, child, 0, &info);
	demand_equal(info.si_code, TRAP_TRACE, "si_code");
	demand_equal(resume(PTRACE_SINGLESTEP, child), SIGTRAP, "the stop after a step");
	demand_equal((long)ip_of(child), (long)step_first + 2, "the place after two steps");
}

PROBE(single_step_syscall, "trap/ptrace-step-over-syscall",
	"PTRACE_SINGLESTEP over a system call stops at the instruction after it.", "ptrace(2)")
{
	pid_t child = traced(stepped);
	resume(PTRACE_CONT, child);
	for (int n = 0; n < 20 && ip_of(child) != (unsigned long)step_call; n++)
		resume(PTRACE_SINGLESTEP, child);
	demand_equal((long)ip_of(child), (long)step_call, "the place before the call");
	demand_equal(resume(PTRACE_SINGLESTEP, child), SIGTRAP, "the stop after the call");
	demand_equal((long)ip_of(child), (long)step_after, "the place after the call");
	resume(PTRACE_SINGLESTEP, child);
	demand_equal((long)ip_of(child), (long)step_after + 1, "the place after one more step");
}

PROBE(step_then_run, "trap/ptrace-step-then-run",
	"After a single step, PTRACE_CONT runs without further traps.", "ptrace(2)")
{
	pid_t child = traced(stepped);
	resume(PTRACE_CONT, child);
	resume(PTRACE_SINGLESTEP, child);
	demand_equal(resume(PTRACE_CONT, child), 0, "the next stop");
	DEMAND(WIFEXITED(child_status), "wait status %#x", (unsigned)child_status);
}

static void step_in_handler(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	traps++;
}

static void with_handler(void)
{
	on_signal(SIGUSR1, step_in_handler, 0);
	stepped();
	_exit(traps == 1 ? 0 : 1);
}

PROBE(step_into_handler, "trap/ptrace-step-into-handler",
	"PTRACE_SINGLESTEP with a signal stops at the first instruction of the handler.",
	"ptrace(2); arch/x86/kernel/signal.c, signal_setup_done: stepping")
{
	pid_t child = traced(with_handler);
	resume(PTRACE_CONT, child);
	if (ptrace(PTRACE_SINGLESTEP, child, 0, SIGUSR1) ||
		waitpid(child, &child_status, 0) != child)
		cannot("PTRACE_SINGLESTEP");
	DEMAND(WIFSTOPPED(child_status), "wait status %#x", (unsigned)child_status);
	demand_equal((long)ip_of(child), (long)(uintptr_t)step_in_handler, "the place of the stop");
}

static unsigned long word_to_watch[4];

static void touch_word(void)
{
	__asm__ volatile("nop");
	*(volatile unsigned long *)word_to_watch = 1;
	__asm__ volatile("nop; nop");
}

static long set_debug_register(pid_t child, size_t number, unsigned long value)
{
	return ptrace(
		PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg) + number * 8, value);
}

PROBE(watchpoint, "trap/watchpoint",
	"A debugger can set a hardware watchpoint: a write to the word raises SIGTRAP with "
	"TRAP_HWBKPT.",
	"ptrace(2), PTRACE_POKEUSER; arch/x86/kernel/ptrace.c, ptrace_set_debugreg")
{
	siginfo_t info;
	pid_t child = traced(touch_word);
	demand_errno(set_debug_register(child, 0, (unsigned long)word_to_watch), 0,
		"PTRACE_POKEUSER of debug register 0");
	demand_errno(
		set_debug_register(child, 7, 0x000d0001), 0, "PTRACE_POKEUSER of debug register 7");
	demand_equal(resume(PTRACE_CONT, child), SIGTRAP, "the stop after the write");
	ptrace(PTRACE_GETSIGINFO, child, 0, &info);
	demand_equal(info.si_code, TRAP_HWBKPT, "si_code");
	demand_equal(ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg) + 48, 0) & 15,
		1, "debug register 6");
}

PROBE(hardware_breakpoint, "trap/hardware-breakpoint",
	"A debugger can set a hardware breakpoint: SIGTRAP before the instruction.",
	"ptrace(2), PTRACE_POKEUSER; arch/x86/kernel/ptrace.c, ptrace_set_debugreg")
{
	pid_t child = traced(stepped);
	demand_errno(set_debug_register(child, 1, (unsigned long)step_after), 0,
		"PTRACE_POKEUSER of debug register 1");
	demand_errno(
		set_debug_register(child, 7, 0x00000004), 0, "PTRACE_POKEUSER of debug register 7");
	resume(PTRACE_CONT, child); /* int3 */
	demand_equal(resume(PTRACE_CONT, child), SIGTRAP, "the next stop");
	demand_equal((long)ip_of(child), (long)step_after, "the place of the stop");
}

static long read_debug_register(pid_t child, size_t number)
{
	return ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg) + number * 8, 0);
}

PROBE(debug_register_read, "trap/debug-register-read",
	"PTRACE_PEEKUSER reads the debug registers that PTRACE_POKEUSER has set.",
	"ptrace(2); arch/x86/kernel/ptrace.c, ptrace_get_debugreg")
{
	pid_t child = traced(touch_word);
	for (size_t n = 0; n < 4; n++)
		demand_errno(set_debug_register(child, n, (unsigned long)word_to_watch + 8 * n), 0,
			"PTRACE_POKEUSER");
	for (size_t n = 0; n < 4; n++)
		demand_equal(read_debug_register(child, n), (long)word_to_watch + 8 * (long)n,
			"a debug register");
}

/* ---- other entries ---- */

static void call_int80(void *result)
{
	long rax = 20; /* getpid, of 32-bit programs */
	__asm__ volatile("int $0x80" : "+a"(rax)::"memory", "r8", "r9", "r10", "r11");
	*(long *)result = rax;
}

PROBE(int80, "trap/int80",
	"int 0x80 makes a system call of the 32-bit table, or raises SIGSEGV if the kernel has "
	"none.",
	"Documentation/arch/x86/entry_64.rst; CONFIG_IA32_EMULATION")
{
	long result = -1;
	struct fault fault = fault_of(call_int80, &result);
	set_value(fault.number ? fault.number : result);
	errno = 0;
	if (fault.number == SIGSEGV)
		conforms("SIGSEGV: no 32-bit system calls");
	DEMAND(!fault.number, "signal %d", fault.number);
	DEMAND(result == getpid(), "getpid by int 0x80 returns %ld", result);
	conforms("the process id");
}

static void call_int80_exit(void *unused)
{
	(void)unused;
	long rax = 1, rbx = 42; /* exit(42), of 32-bit programs; write(42, …) of 64-bit ones */
	__asm__ volatile("int $0x80"
		: "+a"(rax)
		: "b"(rbx), "c"(0L), "d"(0L)
		: "memory", "r8", "r9", "r10", "r11");
	_exit(rax == -ENOSYS ? 41 : 40);
}

static int exit_by_int80(void)
{
	call_int80_exit(NULL);
	return 39;
}

PROBE(int80_exit, "trap/int80-arguments",
	"int 0x80 takes its first argument from ebx: exit(42), or SIGSEGV if the kernel has none.",
	"Documentation/arch/x86/entry_64.rst; CONFIG_IA32_EMULATION")
{
	int end = in_child(exit_by_int80);
	set_value(end);
	errno = 0;
	DEMAND(end == 42 || end == 128 + SIGSEGV, "exit(42) by int 0x80 ends with status %d", end);
	conforms("status %d", end);
}

static void call_vsyscall(void *result)
{
	*(long *)result = ((long (*)(time_t *))0xffffffffff600400UL)(NULL);
}

PROBE(vsyscall, "trap/vsyscall-time",
	"A call of time at its vsyscall address works, or raises SIGSEGV if the kernel has no "
	"vsyscalls.",
	"Documentation/admin-guide/kernel-parameters.txt, vsyscall=")
{
	long result = 0;
	struct fault fault = fault_of(call_vsyscall, &result);
	set_value(fault.number);
	if (fault.number) {
		demand_equal(fault.number, SIGSEGV, "the signal");
		conforms("SIGSEGV: no vsyscalls");
	}
	DEMAND(labs(result - time(NULL)) < 5, "it returns %ld", result);
}

PROBE(unknown_syscall, "trap/unknown-syscall", "An unknown system call fails with ENOSYS.",
	"syscalls(2)")
{
	demand_errno(syscall(5000), ENOSYS, "system call 5000");
	demand_errno(syscall(-1), ENOSYS, "system call -1");
}

PROBE(high_syscall, "trap/syscall-high-bits",
	"System call numbers beyond all tables fail with ENOSYS.",
	"arch/x86/entry/common.c, do_syscall_64: compared as unsigned")
{
	demand_errno(syscall(0x7fffffff), ENOSYS, "system call 0x7fffffff");
	demand_errno(syscall(0x20000000 + SYS_getpid), ENOSYS, "system call 0x20000027");
}

/* ---- the vdso ---- */

PROBE(vdso, "trap/vdso", "If AT_SYSINFO_EHDR is there, a mapped ELF image is at its address.",
	"vdso(7)")
{
	unsigned long address = getauxval(AT_SYSINFO_EHDR);
	if (!address)
		skips("the kernel has no vdso");
	set_value((long)address);
	DEMAND(is_mapped(address), "/proc/self/maps does not show it");
	DEMAND(!memcmp((void *)address, ELFMAG, SELFMAG), "it is not an ELF image");
}

PROBE(vdso_clock, "trap/vdso-clock", "The clock of the vdso and that of the system call agree.",
	"vdso(7)")
{
	for (int n = 0; n < 100; n++) {
		struct timespec before, middle, after;
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
		clock_gettime(CLOCK_MONOTONIC, &middle);
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
		long low = (before.tv_sec - middle.tv_sec) * 1000000000L + before.tv_nsec -
			   middle.tv_nsec;
		long high = (after.tv_sec - middle.tv_sec) * 1000000000L + after.tv_nsec -
			    middle.tv_nsec;
		set_value(low > 0 ? low : high);
		DEMAND(low <= 0 && high >= 0, "the vdso is %ld ns off", low > 0 ? low : high);
	}
}

/* ---- segments ---- */

PROBE(ldt, "trap/ldt", "modify_ldt makes a segment that can be loaded and read through.",
	"modify_ldt(2)")
{
	static unsigned int *word;
	struct user_desc entry = {.entry_number = 3,
		.limit = 0xfffff,
		.seg_32bit = 1,
		.limit_in_pages = 1,
		.useable = 1};
	word = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (word == MAP_FAILED)
		cannot("mmap");
	*word = 4711;
	entry.base_addr = (unsigned)(uintptr_t)word;
	long result = syscall(SYS_modify_ldt, 1, &entry, sizeof entry);
	if (result && errno == ENOSYS)
		skips("the kernel has no modify_ldt");
	demand_errno(result, 0, "modify_ldt");
	unsigned int got;
	__asm__ volatile("mov %1, %%gs; mov %%gs:0, %0; mov %2, %%gs"
		: "=r"(got)
		: "r"(3 << 3 | 7), "r"(0));
	demand_equal(got, 4711, "the word at gs:0");
}
#endif
