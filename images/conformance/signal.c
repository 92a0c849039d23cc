/* Signals: how a handler is entered and left, its stack, and what it learns. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static volatile sig_atomic_t calls;
static volatile sig_atomic_t bad;

static void count(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	calls++;
}

static void every_ms(int which)
{
	setitimer(which, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
}

/* ---- the entry of a handler ---- */

#ifdef __x86_64__
static void count_direction(int number, siginfo_t *info, void *context)
{
	unsigned long flags;
	(void)number, (void)info, (void)context;
	__asm__ volatile("pushfq; popq %0" : "=r"(flags));
	bad += (flags & 0x400) != 0;
	__asm__ volatile("cld");
	calls++;
}

PROBE(direction_flag, "signal/direction-flag",
	"A handler is entered with the direction flag clear, even if the interrupted code had set "
	"it.",
	"System V ABI for AMD64, 3.2.1: DF must be clear on function entry")
{
	on_signal(SIGALRM, count_direction, 0);
	every_ms(ITIMER_REAL);
	while (calls < 20)
		__asm__ volatile("std; mov $100000, %%ecx; 1: dec %%ecx; jnz 1b; cld" ::
				: "ecx", "cc");
	set_value(bad);
	DEMAND(!bad, "%d of %d handlers were entered with the direction flag set", (int)bad,
		(int)calls);
	conforms("clear in %d handlers", (int)calls);
}

PROBE(direction_flag_kept, "signal/direction-flag-kept",
	"sigreturn restores the direction flag that the interrupted code had set.",
	"sigreturn(2): the context of the process is restored, its flags included")
{
	unsigned long lost = 0;
	on_signal(SIGALRM, count, 0);
	every_ms(ITIMER_REAL);
	while (calls < 20) {
		unsigned long flags;
		__asm__ volatile(
			"std; mov $100000, %%ecx; 1: dec %%ecx; jnz 1b; pushfq; popq %0; cld"
			: "=r"(flags)::"ecx", "cc");
		lost += !(flags & 0x400);
	}
	DEMAND(!lost, "the flag was lost %lu times over %d signals", lost, (int)calls);
}

static void check_alignment(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	/* at entry rsp + 8 is a multiple of 16; the frame address is 16 below that */
	bad = ((uintptr_t)__builtin_frame_address(0) & 15) != 0;
	calls++;
}

PROBE(stack_alignment, "signal/stack-alignment",
	"A handler is entered with the stack aligned as for a called function.",
	"System V ABI for AMD64, 3.2.2: (%rsp + 8) is a multiple of 16 on function entry")
{
	on_signal(SIGUSR1, check_alignment, 0);
	for (int shift = 0; shift < 16; shift++) {
		char *room = __builtin_alloca((size_t)shift * 8 + 8);
		*(volatile char *)room = 0;
		raise(SIGUSR1);
		DEMAND(!bad, "the frame of the handler is not aligned to 16 bytes");
	}
}

PROBE(red_zone, "signal/red-zone",
	"The 128 bytes below the stack pointer are not changed by a signal.",
	"System V ABI for AMD64, 3.2.2: the red zone is not modified by signal handlers")
{
	on_signal(SIGALRM, count, 0);
	every_ms(ITIMER_REAL);
	unsigned long changed = 0;
	while (calls < 20) {
		unsigned long result;
		__asm__ volatile(
			"movabs $0x5a5a5a5a5a5a5a5a, %%rax\n"
			"mov %%rax, -8(%%rsp); mov %%rax, -64(%%rsp); mov %%rax, -128(%%rsp)\n"
			"mov $100000, %%ecx\n1: dec %%ecx; jnz 1b\n"
			"xor %0, %0\n"
			"cmp %%rax, -8(%%rsp); setne %b0; add %0, %0\n"
			"cmp %%rax, -64(%%rsp); jz 2f; inc %0\n2: add %0, %0\n"
			"cmp %%rax, -128(%%rsp); jz 3f; inc %0\n3:"
			: "=&d"(result)::"rax", "rcx", "cc", "memory");
		changed |= result;
	}
	DEMAND(!changed, "the red zone was overwritten (words %#lx)", changed);
}

static void note_saved_flags(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	bad = !(registers[REG_EFL] & 0x400);
	registers[REG_RIP] += 2; /* ud2 has two bytes */
	calls++;
}

PROBE(saved_flags, "signal/saved-flags",
	"The context given to a handler has the flags of the interrupted code.",
	"sigaction(2): the ucontext_t is the context of the interrupted thread")
{
	on_signal(SIGILL, note_saved_flags, 0);
	__asm__ volatile("std; ud2; cld" ::: "cc", "memory");
	demand_equal(calls, 1, "the number of handlers");
	DEMAND(!bad, "the saved flags lack the direction flag");
}

static void check_selectors(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	const ucontext_t *interrupted = context;
	unsigned short cs = (unsigned short)interrupted->uc_mcontext.gregs[REG_CSGSFS];
	set_value(cs);
	DEMAND(cs == 0x33, "the code segment of the frame is %#x, not 0x33", cs);
	calls++;
}

PROBE(saved_selectors, "signal/saved-selectors",
	"The frame has the code segment of 64-bit user space, 0x33.",
	"arch/x86/include/asm/segment.h, __USER_CS; debuggers and CRIU read it")
{
	on_signal(SIGUSR1, check_selectors, 0);
	raise(SIGUSR1);
}

static void jump_over(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 has two bytes */
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4711;
	calls++;
}

PROBE(edited_context, "signal/edited-context",
	"A handler that changes the instruction pointer and a register of its context resumes "
	"there.",
	"sigreturn(2); emulators and garbage collectors depend on it")
{
	long rax;
	on_signal(SIGILL, jump_over, 0);
	__asm__ volatile("xor %%eax, %%eax; ud2" : "=a"(rax));
	demand_equal(calls, 1, "the number of handlers");
	demand_equal(rax, 4711, "rax after the handler");
}

PROBE(all_registers, "signal/general-registers",
	"All general registers are as before after a signal.",
	"sigreturn(2): the context of the process is restored")
{
	on_signal(SIGALRM, count, 0);
	every_ms(ITIMER_REAL);
	unsigned long wrong = 0;
	while (calls < 20) {
		unsigned long sum;
		__asm__ volatile(
			"push %%rbp\nmov $1, %%rbx; mov $2, %%rdx; mov $3, %%rsi; mov $4, %%rdi; "
			"mov $5, %%rbp\n"
			"mov $6, %%r8; mov $7, %%r9; mov $8, %%r10; mov $9, %%r11; mov $10, %%r12\n"
			"mov $11, %%r13; mov $12, %%r14; mov $13, %%r15\n"
			"mov $100000, %%ecx\n1: dec %%ecx; jnz 1b\n"
			"lea (%%rbx,%%rdx,2), %%rax\nlea (%%rax,%%rsi,4), %%rax\nlea "
			"(%%rax,%%rdi,8), %%rax\n"
			"imul $3, %%rax\nadd %%rbp, %%rax\nimul $3, %%rax\nadd %%r8, %%rax\nimul "
			"$3, %%rax\n"
			"add %%r9, %%rax\nimul $3, %%rax\nadd %%r10, %%rax\nimul $3, %%rax\nadd "
			"%%r11, %%rax\n"
			"imul $3, %%rax\nadd %%r12, %%rax\nimul $3, %%rax\nadd %%r13, %%rax\nimul "
			"$3, %%rax\n"
			"add %%r14, %%rax\nimul $3, %%rax\nadd %%r15, %%rax\npop %%rbp\n"
			: "=a"(sum)::"rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
			"r12", "r13", "r14", "r15", "cc", "memory");
		unsigned long wanted = 1 + 2 * 2 + 3 * 4 + 4 * 8;
		for (unsigned long n = 5; n <= 13; n++)
			wanted = wanted * 3 + n;
		wrong += sum != wanted;
	}
	DEMAND(!wrong, "a register was changed %lu times over %d signals", wrong, (int)calls);
}

static bool has_xsave(void)
{
	unsigned int a = 1, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c & (1U << 27);
}

static void check_magic(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	const ucontext_t *interrupted = context;
	const char *state = (const char *)interrupted->uc_mcontext.fpregs;
	uint32_t words[4], end;
	DEMAND(state, "the frame has no floating-point state");
	memcpy(words, state + 464, sizeof words);
	set_value(words[0]);
	DEMAND(words[0] == 0x46505853, "FP_XSTATE_MAGIC1 is missing: %#x", words[0]);
	memcpy(&end, state + words[1] - 4, sizeof end);
	set_value(end);
	DEMAND(end == 0x46505845, "FP_XSTATE_MAGIC2 is missing at the end of %u bytes", words[1]);
	set_value(words[1]);
	conforms("%u bytes", words[1]);
}

PROBE(extended_state, "signal/extended-state",
	"If the processor has XSAVE, the frame has the extended state between its two magic words.",
	"arch/x86/include/uapi/asm/sigcontext.h: FP_XSTATE_MAGIC1 and FP_XSTATE_MAGIC2")
{
	if (!has_xsave())
		skips("the processor has no XSAVE");
	on_signal(SIGUSR1, check_magic, 0);
	raise(SIGUSR1);
}

static void note_state_alignment(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	bad = (int)((uintptr_t)((ucontext_t *)context)->uc_mcontext.fpregs & 63);
	calls++;
}

PROBE(state_alignment, "signal/extended-state-alignment",
	"If the processor has XSAVE, the extended state of a frame is aligned to 64 bytes.",
	"arch/x86/kernel/fpu/signal.c, fpu__alloc_mathframe; Intel SDM volume 1, 13.4: XSAVE area")
{
	if (!has_xsave())
		skips("the processor has no XSAVE");
	on_signal(SIGUSR1, note_state_alignment, 0);
	for (size_t shift = 0; shift < 8; shift++) {
		volatile char *room = __builtin_alloca(16 * shift + 16);
		room[0] = 0;
		raise(SIGUSR1);
		set_value(bad);
		DEMAND(!bad, "it is %d bytes off", (int)bad);
	}
}

static void check_uc_flags(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	unsigned long flags = ((ucontext_t *)context)->uc_flags;
	set_value((long)flags);
	DEMAND((flags & 1) || !has_xsave(), "uc_flags is %#lx, without UC_FP_XSTATE", flags);
	DEMAND(flags & 2, "uc_flags is %#lx, without UC_SIGCONTEXT_SS", flags);
	conforms("%#lx", flags);
}

PROBE(uc_flags, "signal/uc-flags",
	"uc_flags says that the frame has extended state and a valid stack segment.",
	"arch/x86/include/uapi/asm/ucontext.h: UC_FP_XSTATE, UC_SIGCONTEXT_SS")
{
	on_signal(SIGUSR1, check_uc_flags, 0);
	raise(SIGUSR1);
}
#endif

/* ---- the alternate stack ---- */

enum { PATTERN = 0x5a, BELOW = 32768 };
static char *area; /* BELOW bytes of pattern, then the alternate stack; shared with children */
static size_t stack_bytes;

static void set_stack(size_t bytes, int flags)
{
	stack_bytes = bytes;
	area = mmap(NULL, BELOW + bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		cannot("mmap");
	memset(area, PATTERN, BELOW);
	stack_t stack = {.ss_sp = area + BELOW, .ss_size = bytes, .ss_flags = flags};
	if (sigaltstack(&stack, NULL))
		cannot("sigaltstack");
}

static size_t overwritten(void)
{
	size_t bytes = 0;
	for (size_t n = 0; n < BELOW; n++)
		bytes += area[n] != PATTERN;
	return bytes;
}

static bool on_area(const void *address)
{
	return (const char *)address >= area + BELOW &&
	       (const char *)address < area + BELOW + stack_bytes;
}

static void note_stack(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	stack_t now_active;
	calls = 1;
	bad = !on_area(&now_active) || !on_area(context);
	if (bad)
		differs("the handler or its frame is not on the alternate stack");
	if (syscall(SYS_sigaltstack, NULL, &now_active))
		cannot("sigaltstack");
	set_value(now_active.ss_flags);
	DEMAND(now_active.ss_flags == SS_ONSTACK, "ss_flags in the handler is %#x, not SS_ONSTACK",
		(unsigned)now_active.ss_flags);
	DEMAND(syscall(SYS_sigaltstack, &now_active, NULL) == -1 && errno == EPERM,
		"the active stack can be changed");
}

PROBE(alternate_stack, "signal/alternate-stack",
	"With SA_ONSTACK the handler runs on the alternate stack, which is SS_ONSTACK and cannot "
	"be changed.",
	"sigaltstack(2)")
{
	set_stack(65536, 0);
	on_signal(SIGUSR1, note_stack, SA_ONSTACK);
	raise(SIGUSR1);
	demand_equal(calls, 1, "the number of handlers");
}

/* Handle a signal on a stack of so many bytes, in a child, and look at what lies below the stack.
 */
static void handle_signal_on_stack(size_t size)
{
	set_stack(size, 0);
	pid_t child = fork();
	if (!child) {
		on_signal(SIGUSR1, count, SA_ONSTACK);
		raise(SIGUSR1);
		_exit(calls != 1);
	}
	int status = wait_for(child);
	size_t bytes = overwritten();
	set_value((long)bytes);
	errno = 0;
	DEMAND(!bytes, "%zu bytes below the stack were overwritten", bytes);
	conforms("wait status %#x", (unsigned)status);
}

PROBE(stack_8k, "signal/alternate-stack-8k",
	"Nothing is written below an alternate stack of 8 KiB (SIGSTKSZ): the frame fits, or "
	"SIGSEGV.",
	"sigaltstack(2); arch/x86/kernel/signal.c, get_sigframe: on overflow the signal is SIGSEGV")
{
	handle_signal_on_stack(8192);
}

#ifdef __x86_64__ /* MINSIGSTKSZ is larger elsewhere */
PROBE(stack_2k, "signal/alternate-stack-2k",
	"Nothing is written below an alternate stack of 2 KiB (MINSIGSTKSZ): the frame fits, or "
	"SIGSEGV.",
	"sigaltstack(2); arch/x86/kernel/signal.c, get_sigframe: on overflow the signal is SIGSEGV")
{
	handle_signal_on_stack(2048);
}
#endif

PROBE(stack_too_small, "signal/alternate-stack-too-small",
	"sigaltstack refuses a stack below MINSIGSTKSZ (2048 bytes) with ENOMEM.", "sigaltstack(2)")
{
	static char small[2047];
	stack_t stack = {.ss_sp = small, .ss_size = sizeof small};
	demand_errno(syscall(SYS_sigaltstack, &stack, NULL), ENOMEM, "sigaltstack");
}

#if defined(__x86_64__) || defined(__aarch64__)
PROBE(minsigstksz, "signal/at-minsigstksz",
	"The auxiliary vector has AT_MINSIGSTKSZ, the size of the stack that a signal needs.",
	"getauxval(3); Documentation/arch/x86/elf_auxvec.rst")
{
	unsigned long bytes = getauxval(AT_MINSIGSTKSZ);
	set_value((long)bytes);
	DEMAND(bytes, "AT_MINSIGSTKSZ is absent");
	conforms("%lu bytes", bytes);
}
#endif

static void *frame;

static void note_frame(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	frame = info < (siginfo_t *)context ? (void *)info : context;
	calls++;
}

PROBE(frame_size, "signal/frame-size",
	"A signal frame is not larger than AT_MINSIGSTKSZ, or than MINSIGSTKSZ if that is absent.",
	"getauxval(3), AT_MINSIGSTKSZ: the minimal stack size required by the kernel to deliver a "
	"signal")
{
	set_stack(65536, 0);
	on_signal(SIGUSR1, note_frame, SA_ONSTACK);
	raise(SIGUSR1);
	long bytes = area + BELOW + stack_bytes - (char *)frame;
	long told = (long)getauxval(AT_MINSIGSTKSZ);
	set_value(bytes);
	errno = 0;
	DEMAND(bytes <= (told ? told : 2048), "the frame takes %ld bytes, and the kernel tells %ld",
		bytes, told ? told : 2048);
	conforms("%ld bytes of %ld", bytes, told);
}

static void note_disarmed(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	stack_t now_active;
	if (syscall(SYS_sigaltstack, NULL, &now_active))
		cannot("sigaltstack");
	set_value(now_active.ss_flags);
	DEMAND(on_area(&now_active), "the handler is not on the alternate stack");
	DEMAND(now_active.ss_flags == SS_DISABLE, "ss_flags in the handler is %#x, not SS_DISABLE",
		(unsigned)now_active.ss_flags);
	calls++;
}

PROBE(autodisarm, "signal/autodisarm",
	"With SS_AUTODISARM the alternate stack is disabled while its handler runs.",
	"sigaltstack(2)")
{
	set_stack(65536, (int)SS_AUTODISARM);
	on_signal(SIGUSR1, note_disarmed, SA_ONSTACK);
	raise(SIGUSR1);
	demand_equal(calls, 1, "the number of handlers");
}

PROBE(autodisarm_return, "signal/autodisarm-return",
	"After the handler an alternate stack with SS_AUTODISARM is as it was set.",
	"sigaltstack(2)")
{
	set_stack(65536, (int)SS_AUTODISARM);
	on_signal(SIGUSR1, count, SA_ONSTACK);
	raise(SIGUSR1);
	raise(SIGUSR1);
	stack_t stack;
	if (sigaltstack(NULL, &stack))
		cannot("sigaltstack");
	DEMAND(stack.ss_sp == area + BELOW, "the address of the stack is %p, not %p", stack.ss_sp,
		(void *)(area + BELOW));
	demand_equal((long)stack.ss_size, 65536, "the size of the stack");
	demand_equal((unsigned)stack.ss_flags, SS_AUTODISARM, "ss_flags");
	demand_equal(calls, 2, "the number of handlers");
}

static char *other_area;

static void switch_away(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	stack_t other = {.ss_sp = other_area, .ss_size = 65536};
	int changed = (int)syscall(SYS_sigaltstack, &other, NULL);
	DEMAND(!changed, "the stack cannot be changed in the handler");
	calls++;
}

PROBE(autodisarm_switch, "signal/autodisarm-switch",
	"A handler on a stack with SS_AUTODISARM may set another stack: coroutines switch away "
	"safely.",
	"sigaltstack(2)")
{
	other_area = map_pages(16, PROT_READ | PROT_WRITE);
	set_stack(65536, (int)SS_AUTODISARM);
	on_signal(SIGUSR1, switch_away, SA_ONSTACK);
	raise(SIGUSR1);
	demand_equal(calls, 1, "the number of handlers");
}

static void set_bogus_flags(void)
{
	static char stack_area[65536];
	stack_t stack = {.ss_sp = stack_area, .ss_size = sizeof stack_area, .ss_flags = 0x100};
	demand_errno(syscall(SYS_sigaltstack, &stack, NULL), EINVAL, "sigaltstack");
}

PROBE(stack_flags, "signal/alternate-stack-flags", "sigaltstack refuses unknown flags with EINVAL.",
	"sigaltstack(2)")
{
	set_bogus_flags();
}

static char *page_below;

static void note_overflow(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	char *at = info->si_addr;
	if (at < page_below || at >= page_below + page_size())
		differs("si_addr is %p, not in the guard page at %p", (void *)at,
			(void *)page_below);
	conforms("the handler ran on the alternate stack");
}

static void use_stack(ucontext_t *context, void (*function)(void), char *stack, size_t bytes)
{
	if (getcontext(context))
		cannot("getcontext");
	context->uc_stack.ss_sp = stack;
	context->uc_stack.ss_size = bytes;
	context->uc_link = NULL;
	makecontext(context, function, 0);
	setcontext(context);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) static int recurse(volatile char *above)
{
	volatile char room[256];
	room[0] = (char)(*above + 1);
	return recurse(room) + room[0];
}
#pragma GCC diagnostic pop

static void overflow(void)
{
	char first = 0;
	recurse(&first);
}

PROBE(stack_overflow, "signal/stack-overflow",
	"When a stack overflows into a guard page, SIGSEGV is handled on the alternate stack.",
	"sigaltstack(2): its most common use")
{
	static ucontext_t context;
	set_stack(65536, 0);
	page_below = map_pages(17, PROT_READ | PROT_WRITE);
	mprotect(page_below, page_size(), PROT_NONE);
	on_signal(SIGSEGV, note_overflow, SA_ONSTACK);
	use_stack(&context, overflow, page_below + page_size(), 16 * page_size());
}

/* ---- masks, nesting, restart ---- */

static void raise_again(int number, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	static volatile int depth;
	depth++;
	if (depth > bad)
		bad = depth;
	if (++calls < 3)
		raise(number);
	depth--;
}

PROBE(masked_in_handler, "signal/masked-in-handler",
	"Its own signal is blocked while a handler runs, and delivered after it.", "sigaction(2)")
{
	on_signal(SIGUSR1, raise_again, 0);
	raise(SIGUSR1);
	demand_equal(calls, 3, "the number of handlers");
	demand_equal(bad, 1, "the depth of nesting");
}

PROBE(nodefer, "signal/nodefer", "With SA_NODEFER a handler is interrupted by its own signal.",
	"sigaction(2)")
{
	on_signal(SIGUSR1, raise_again, SA_NODEFER);
	raise(SIGUSR1);
	demand_equal(calls, 3, "the number of handlers");
	demand_equal(bad, 3, "the depth of nesting");
}

PROBE(resethand, "signal/resethand",
	"With SA_RESETHAND the action is the default one after the first call.", "sigaction(2)")
{
	struct sigaction action;
	on_signal(SIGUSR1, count, (int)SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &action);
	DEMAND(action.sa_handler == SIG_DFL, "the handler is still installed");
}

static void add_to_mask(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGUSR2);
}

PROBE(edited_mask, "signal/edited-mask",
	"A handler that adds a signal to the mask in its context leaves it blocked.",
	"sigreturn(2)")
{
	sigset_t mask;
	on_signal(SIGUSR1, add_to_mask, 0);
	raise(SIGUSR1);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	DEMAND(sigismember(&mask, SIGUSR2) == 1, "the signal is not blocked");
}

static volatile int *counted; /* shared with a child */

static void count_shared(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	++*counted;
}

PROBE(restart, "signal/restart", "With SA_RESTART an interrupted read of a pipe goes on.",
	"signal(7)")
{
	int ends[2];
	char byte;
	counted =
		mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(ends) || counted == MAP_FAILED)
		cannot("pipe");
	pid_t child = fork();
	if (!child) {
		while (*counted < 5)
			sleep_ms(1);
		_exit(write(ends[1], "x", 1) != 1);
	}
	on_signal(SIGALRM, count_shared, SA_RESTART);
	every_ms(ITIMER_REAL);
	demand_equal(read(ends[0], &byte, 1), 1, "the result of read");
	wait_for(child);
}

PROBE(interrupt, "signal/interrupt",
	"Without SA_RESTART an interrupted read of a pipe fails with EINTR.", "signal(7)")
{
	int ends[2];
	char byte;
	if (pipe(ends))
		cannot("pipe");
	on_signal(SIGALRM, count, 0);
	every_ms(ITIMER_REAL);
	demand_errno(read(ends[0], &byte, 1), EINTR, "read");
}

PROBE(nanosleep_rest, "signal/nanosleep-rest",
	"An interrupted nanosleep fails with EINTR, even with SA_RESTART, and tells the remaining "
	"time.",
	"nanosleep(2), signal(7)")
{
	struct timespec rest = {0};
	on_signal(SIGALRM, count, SA_RESTART);
	every_ms(ITIMER_REAL);
	demand_errno(nanosleep(&(struct timespec){100, 0}, &rest), EINTR, "nanosleep");
	/* the kernel may add the slack of its timers: a little more than the whole may remain */
	DEMAND(rest.tv_sec <= 100 && rest.tv_sec >= 50, "%ld s remain of 100", (long)rest.tv_sec);
}

PROBE(default_ignored, "signal/default-ignored",
	"SIGCHLD, SIGURG and SIGWINCH are ignored by default.", "signal(7)")
{
	raise(SIGCHLD);
	raise(SIGURG);
	raise(SIGWINCH);
}

static int die_of_pipe(void)
{
	int ends[2];
	if (pipe(ends))
		return 1;
	close(ends[0]);
	return write(ends[1], "x", 1) == 1;
}

PROBE(sigpipe, "signal/sigpipe", "A write to a pipe without a reader kills by SIGPIPE.", "pipe(7)")
{
	demand_equal(in_child(die_of_pipe), 128 + SIGPIPE, "the end of the child");
}

/* ---- what a handler learns ---- */

static siginfo_t told;

static void note_info(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	told = *info;
	calls++;
}

PROBE(kill_info, "signal/kill-info", "kill(2) reports SI_USER, with the sender's pid and uid.",
	"sigaction(2)")
{
	on_signal(SIGUSR1, note_info, 0);
	kill(getpid(), SIGUSR1);
	demand_equal(told.si_code, SI_USER, "si_code");
	demand_equal(told.si_pid, getpid(), "si_pid");
	demand_equal(told.si_uid, getuid(), "si_uid");
}

PROBE(tgkill_info, "signal/tgkill-info", "tgkill(2) reports SI_TKILL.", "sigaction(2)")
{
	on_signal(SIGUSR1, note_info, 0);
	syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
	demand_equal(told.si_code, SI_TKILL, "si_code");
	demand_equal(told.si_pid, getpid(), "si_pid");
}

PROBE(queue_info, "signal/sigqueue-info", "sigqueue(3) reports SI_QUEUE, with its value.",
	"sigqueue(3)")
{
	on_signal(SIGUSR1, note_info, 0);
	sigqueue(getpid(), SIGUSR1, (union sigval){.sival_ptr = (void *)0x123456789abcUL});
	demand_equal(told.si_code, SI_QUEUE, "si_code");
	demand_equal((long)(uintptr_t)told.si_value.sival_ptr, 0x123456789abcL, "si_value");
}

PROBE(timer_info, "signal/timer-info", "A POSIX timer reports SI_TIMER, with its value.",
	"timer_create(2)")
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
		.sigev_value = {.sival_int = 4711}};
	on_signal(SIGUSR1, note_info, 0);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		cannot("timer_create");
	timer_settime(timer, 0, &(struct itimerspec){.it_value = {0, 1000000}}, NULL);
	while (!calls)
		sleep_ms(1);
	demand_equal(told.si_code, SI_TIMER, "si_code");
	demand_equal(told.si_value.sival_int, 4711, "si_value");
}

static void child_info(int (*action)(void), int code, int child_status)
{
	on_signal(SIGCHLD, note_info, 0);
	pid_t child = start(action);
	wait_for(child);
	while (!calls)
		sleep_ms(1);
	demand_equal(told.si_code, code, "si_code");
	demand_equal(told.si_status, child_status, "si_status");
	demand_equal(told.si_pid, child, "si_pid");
}

static int exit_42(void)
{
	return 42;
}

static int die_by_kill(void)
{
	kill(getpid(), SIGKILL);
	return 0;
}

PROBE(child_exit_info, "signal/child-exit-info", "SIGCHLD tells CLD_EXITED and the exit status.",
	"sigaction(2)")
{
	child_info(exit_42, CLD_EXITED, 42);
}

PROBE(child_killed_info, "signal/child-killed-info", "SIGCHLD tells CLD_KILLED and the signal.",
	"sigaction(2)")
{
	child_info(die_by_kill, CLD_KILLED, SIGKILL);
}

/* ---- queues and waiting ---- */

static int order[8];

static void note_order(int number, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	if (calls < 8)
		order[calls++] = number;
}

PROBE(queue_order, "signal/queue-order",
	"Pending real-time signals are all delivered, each value in order; a standard one only "
	"once.",
	"signal(7)")
{
	sigset_t all, before;
	on_signal(SIGUSR1, note_order, 0);
	on_signal(SIGRTMIN, note_order, 0);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	for (int n = 0; n < 3; n++) {
		sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = n});
		kill(getpid(), SIGUSR1);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	demand_equal(calls, 4, "the number of handlers");
}

PROBE(sigwaitinfo_value, "signal/sigwaitinfo", "sigwaitinfo returns a queued signal and its value.",
	"sigwaitinfo(2)")
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 99});
	demand_equal(sigwaitinfo(&set, &info), SIGRTMIN + 1, "the result of sigwaitinfo");
	demand_equal(info.si_value.sival_int, 99, "si_value");
}

PROBE(sigtimedwait_timeout, "signal/sigtimedwait-timeout",
	"sigtimedwait fails with EAGAIN after its timeout, not before.", "sigtimedwait(2)")
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	double before = now();
	demand_errno(
		sigtimedwait(&set, NULL, &(struct timespec){0, 20000000}), EAGAIN, "sigtimedwait");
	DEMAND(now() - before >= 0.0199, "it returned after %.1f ms of 20",
		(now() - before) * 1000);
}

PROBE(signalfd_read, "signal/signalfd", "signalfd returns a blocked signal with its sender.",
	"signalfd(2)")
{
	sigset_t set;
	struct signalfd_siginfo info;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		cannot("signalfd");
	kill(getpid(), SIGUSR1);
	demand_equal(read(fd, &info, sizeof info), sizeof info, "the result of read");
	demand_equal(info.ssi_signo, SIGUSR1, "ssi_signo");
	demand_equal(info.ssi_pid, getpid(), "ssi_pid");
}

PROBE(sigsuspend_mask, "signal/sigsuspend",
	"sigsuspend delivers a pending signal and restores the mask.", "sigsuspend(2)")
{
	sigset_t set, none, after;
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	on_signal(SIGUSR1, count, 0);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	demand_errno(sigsuspend(&none), EINTR, "sigsuspend");
	demand_equal(calls, 1, "the number of handlers");
	sigprocmask(SIG_SETMASK, NULL, &after);
	DEMAND(sigismember(&after, SIGUSR1) == 1, "the mask was not restored");
}

/* ---- faults: the signal, its si_code and its si_addr ---- */

PROBE(read_unmapped, "signal/fault-read-unmapped",
	"A read of an unmapped page raises SIGSEGV, SEGV_MAPERR, with the address.", "sigaction(2)")
{
	char *page = map_pages(1, PROT_READ);
	munmap(page, page_size());
	demand_fault(fault_of_read(page + 123), SIGSEGV, SEGV_MAPERR, page + 123);
}

PROBE(read_null, "signal/fault-null",
	"A read of address 0 raises SIGSEGV, SEGV_MAPERR, with address 0.", "sigaction(2)")
{
	demand_fault(fault_of_read(NULL), SIGSEGV, SEGV_MAPERR, NULL);
}

PROBE(read_protected, "signal/fault-read-protected",
	"A read of a page with PROT_NONE raises SIGSEGV, SEGV_ACCERR, with the address.",
	"sigaction(2)")
{
	char *page = map_pages(1, PROT_NONE);
	demand_fault(fault_of_read(page + 8), SIGSEGV, SEGV_ACCERR, page + 8);
}

PROBE(write_protected, "signal/fault-write-protected",
	"A write to a read-only page raises SIGSEGV, SEGV_ACCERR, with the address.",
	"sigaction(2)")
{
	char *page = map_pages(1, PROT_READ);
	demand_fault(fault_of_write(page + 4095), SIGSEGV, SEGV_ACCERR, page + 4095);
}

PROBE(write_touched, "signal/fault-write-touched",
	"A write to a page that was written and then made read-only raises SIGSEGV, SEGV_ACCERR.",
	"mprotect(2)")
{
	char *page = map_pages(1, PROT_READ | PROT_WRITE);
	*page = 1;
	mprotect(page, page_size(), PROT_READ);
	demand_fault(fault_of_write(page + 5), SIGSEGV, SEGV_ACCERR, page + 5);
}

PROBE(read_beyond_file, "signal/fault-beyond-file",
	"A read of a file mapping beyond the end of the file raises SIGBUS, BUS_ADRERR, with the "
	"address.",
	"mmap(2)")
{
	int file = (int)syscall(SYS_memfd_create, "probe", 0);
	if (file < 0 || ftruncate(file, (off_t)page_size()))
		cannot("memfd_create");
	char *pages = mmap(NULL, 2 * page_size(), PROT_READ, MAP_SHARED, file, 0);
	char *beyond = pages + page_size() + 16;
	demand_fault(fault_of_read(beyond), SIGBUS, BUS_ADRERR, beyond);
}

#ifdef __x86_64__

PROBE(call_not_executable, "signal/fault-execute",
	"A jump into a page without PROT_EXEC raises SIGSEGV, SEGV_ACCERR, with the address.",
	"sigaction(2), mprotect(2)")
{
	char *page = map_pages(1, PROT_READ | PROT_WRITE);
	*page = (char)0xc3;
	demand_fault(fault_of_call(page), SIGSEGV, SEGV_ACCERR, page);
}

PROBE(call_unmapped, "signal/fault-execute-unmapped",
	"A jump into an unmapped page raises SIGSEGV, SEGV_MAPERR, with the address.",
	"sigaction(2)")
{
	char *page = map_pages(1, PROT_READ);
	munmap(page, page_size());
	demand_fault(fault_of_call(page), SIGSEGV, SEGV_MAPERR, page);
}

PROBE(read_not_canonical, "signal/fault-not-canonical",
	"A read of a non-canonical address raises SIGSEGV with SI_KERNEL and address 0.",
	"arch/x86/kernel/traps.c, exc_general_protection: force_sig(SIGSEGV)")
{
	demand_fault(fault_of_read((void *)0x8000000000000000UL), SIGSEGV, SI_KERNEL, NULL);
}

PROBE(read_kernel, "signal/fault-kernel-address",
	"A read of a kernel address raises SIGSEGV, SEGV_MAPERR, with the address.",
	"arch/x86/mm/fault.c, do_kern_addr_fault: bad_area_nosemaphore")
{
	char *address = (char *)0xffffffff81000000UL;
	demand_fault(fault_of_read(address), SIGSEGV, SEGV_MAPERR, address);
}

static void halt(void *unused)
{
	(void)unused;
	__asm__ volatile("hlt");
}

PROBE(privileged, "signal/fault-privileged",
	"A privileged instruction raises SIGSEGV with SI_KERNEL.",
	"arch/x86/kernel/traps.c, exc_general_protection: force_sig(SIGSEGV)")
{
	demand_fault(fault_of(halt, NULL), SIGSEGV, SI_KERNEL, NULL);
}

static void read_through_rbp(void *address)
{
	__asm__ volatile("push %%rbp; mov %0, %%rbp; mov (%%rbp), %%rax; pop %%rbp" ::"r"(address)
		: "rax", "memory");
}

PROBE(stack_segment, "signal/fault-stack-segment",
	"A read of a non-canonical address through rbp raises SIGBUS with SI_KERNEL.",
	"arch/x86/kernel/traps.c, exc_stack_segment: SIGBUS")
{
	demand_fault(
		fault_of(read_through_rbp, (void *)0x8000000000000000UL), SIGBUS, SI_KERNEL, NULL);
}

static void interrupt_4(void *unused)
{
	(void)unused;
	__asm__ volatile("int $4");
}

PROBE(overflow_trap, "signal/fault-overflow", "int 4 raises SIGSEGV with SI_KERNEL.",
	"arch/x86/kernel/traps.c, exc_overflow: SIGSEGV")
{
	demand_fault(fault_of(interrupt_4, NULL), SIGSEGV, SI_KERNEL, NULL);
}

static void *place_of_fault;

static void divide(void *zero)
{
	__asm__ volatile(
		"lea 1f(%%rip), %%rax; mov %%rax, %0; xor %%edx, %%edx; mov $1, %%eax; 1: div %1"
		: "=m"(place_of_fault)
		: "r"((unsigned)(uintptr_t)zero)
		: "rax", "rdx");
}

PROBE(divide_error, "signal/fault-divide",
	"A division by zero raises SIGFPE, FPE_INTDIV, with the address of the instruction.",
	"sigaction(2): SIGFPE fills in si_addr")
{
	struct fault fault = fault_of(divide, NULL);
	demand_fault(fault, SIGFPE, FPE_INTDIV, place_of_fault);
}

static void undefined(void *unused)
{
	(void)unused;
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; 1: ud2"
		: "=m"(place_of_fault)::"rax");
}

PROBE(illegal, "signal/fault-illegal",
	"An undefined instruction raises SIGILL, ILL_ILLOPN, with the address of the instruction.",
	"arch/x86/kernel/traps.c, handle_invalid_op: ILL_ILLOPN")
{
	struct fault fault = fault_of(undefined, NULL);
	demand_fault(fault, SIGILL, ILL_ILLOPN, place_of_fault);
}

static void divide_floats(void *unused)
{
	(void)unused;
	_mm_setcsr(_mm_getcsr() & ~0x200U); /* unmask division by zero */
	volatile float zero = 0.0f;
	volatile float result = 1.0f / zero;
	(void)result;
}

PROBE(sse_exception, "signal/fault-sse",
	"An unmasked SSE division by zero raises SIGFPE, FPE_FLTDIV.", "sigaction(2)")
{
	struct fault fault = fault_of(divide_floats, NULL);
	demand_fault(fault, SIGFPE, FPE_FLTDIV, (void *)fault.ip);
}

static void divide_x87(void *unused)
{
	(void)unused;
	unsigned short control = 0x37f & ~4; /* unmask division by zero */
	__asm__ volatile("fldcw %0; fld1; fldz; fdivrp; fwait" ::"m"(control));
}

PROBE(x87_exception, "signal/fault-x87",
	"An unmasked x87 division by zero raises SIGFPE, FPE_FLTDIV.", "sigaction(2)")
{
	struct fault fault = fault_of(divide_x87, NULL);
	demand_equal(fault.number, SIGFPE, "the signal");
	demand_equal(fault.code, FPE_FLTDIV, "si_code");
}

static void read_unaligned(void *page)
{
	__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq\n"
			 "mov 1(%0), %%eax\n"
			 "pushfq; andl $~0x40000, (%%rsp); popfq" ::"r"(page)
		: "rax", "cc", "memory");
}

PROBE(alignment, "signal/fault-alignment",
	"With the AC flag set, an unaligned read raises SIGBUS, BUS_ADRALN.",
	"arch/x86/kernel/traps.c, exc_alignment_check: SIGBUS, BUS_ADRALN")
{
	void *page = map_pages(1, PROT_READ);
	struct fault fault = fault_of(read_unaligned, page);
	demand_equal(fault.number, SIGBUS, "the signal");
	demand_equal(fault.code, BUS_ADRALN, "si_code");
}

PROBE(error_code_read, "signal/error-code-read",
	"The context of a fault by a read has trap number 14, an error code without the write bit, "
	"and cr2.",
	"arch/x86/include/uapi/asm/sigcontext.h; Intel SDM volume 3, 4.7")
{
	char *page = map_pages(1, PROT_NONE);
	struct fault fault = fault_of_read(page + 8);
	demand_equal((long)fault.trap, 14, "the trap number");
	demand_equal((long)fault.error & 6, 4, "the user and write bits of the error code");
	demand_equal((long)fault.cr2, (long)(uintptr_t)page + 8, "cr2");
}

PROBE(error_code_write, "signal/error-code-write",
	"The error code of a fault by a write has the write bit: garbage collectors read it.",
	"arch/x86/include/uapi/asm/sigcontext.h; Intel SDM volume 3, 4.7")
{
	char *page = map_pages(1, PROT_READ);
	struct fault fault = fault_of_write(page + 8);
	demand_equal((long)fault.trap, 14, "the trap number");
	demand_equal((long)fault.error & 6, 6, "the user and write bits of the error code");
}

PROBE(error_code_execute, "signal/error-code-execute",
	"If a jump leads to non-executable memory, bit 4 of the error code (instruction fetch) is "
	"set.",
	"Intel SDM volume 3, 4.7: I/D flag (bit 4)")
{
	char *page = map_pages(1, PROT_READ | PROT_WRITE);
	*page = (char)0xc3;
	struct fault fault = fault_of_call(page);
	demand_equal((long)fault.error & 0x10, 0x10, "the instruction bit of the error code");
}

PROBE(trap_number, "signal/trap-number",
	"The context of a division by zero has trap number 0, of ud2 6.",
	"arch/x86/include/asm/trapnr.h")
{
	demand_equal((long)fault_of(divide, NULL).trap, 0, "the trap number of a division by zero");
	demand_equal((long)fault_of(undefined, NULL).trap, 6, "the trap number of ud2");
}

static void read_clock(void *unused)
{
	(void)unused;
	__asm__ volatile("rdtsc" ::: "rax", "rdx");
}

PROBE(no_tsc, "signal/fault-rdtsc",
	"After prctl(PR_SET_TSC, PR_TSC_SIGSEGV), rdtsc raises SIGSEGV.", "PR_SET_TSC(2const)")
{
	if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV))
		skips("the kernel has no PR_SET_TSC");
	struct fault fault = fault_of(read_clock, NULL);
	prctl(PR_SET_TSC, PR_TSC_ENABLE);
	demand_equal(fault.number, SIGSEGV, "the signal");
}
#endif

static volatile char *volatile unmapped = (char *)8;

static int fault_blocked(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	on_signal(SIGSEGV, count, 0);
	sigprocmask(SIG_BLOCK, &set, NULL);
	*unmapped = 1;
	return 1;
}

PROBE(blocked_fault, "signal/blocked-fault", "A fault whose signal is blocked kills the process.",
	"sigprocmask(2), force_sig in kernel/signal.c")
{
	demand_equal(in_child(fault_blocked), 128 + SIGSEGV, "the end of the child");
}

static int fault_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	*unmapped = 1;
	return 1;
}

PROBE(ignored_fault, "signal/ignored-fault", "A fault whose signal is ignored kills the process.",
	"force_sig in kernel/signal.c")
{
	demand_equal(in_child(fault_ignored), 128 + SIGSEGV, "the end of the child");
}

PROBE(bad_pointer, "signal/efault",
	"A system call with a bad pointer fails with EFAULT, without a signal.", "errno(3)")
{
	int ends[2];
	char *page = map_pages(1, PROT_NONE);
	if (pipe(ends) || write(ends[1], "x", 1) != 1)
		cannot("pipe");
	demand_errno(read(ends[0], page, 1), EFAULT, "read");
	demand_errno(syscall(SYS_clock_gettime, CLOCK_REALTIME, page), EFAULT, "clock_gettime");
}

static volatile char *lazy;

static void map_lazily(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	mprotect((void *)(uintptr_t)lazy, page_size(), PROT_READ | PROT_WRITE);
	calls++;
}

PROBE(resume_after_fault, "signal/resume-after-fault",
	"A handler that makes the page accessible returns to the same instruction, which succeeds.",
	"mprotect(2); garbage collectors and emulators depend on it")
{
	enum { PAGES = 200 };
	char *pages = map_pages(PAGES, PROT_NONE);
	on_signal(SIGSEGV, map_lazily, 0);
	for (size_t n = 0; n < PAGES; n++) {
		lazy = pages + n * page_size();
		*lazy = (char)n;
		DEMAND(*lazy == (char)n, "page %zu lost its value", n);
	}
	demand_equal(calls, PAGES, "the number of faults");
}

static sigjmp_buf jump;

static void jump_out(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	siglongjmp(jump, 1);
}

PROBE(jump_from_handler, "signal/longjmp", "A handler may be left by siglongjmp, a thousand times.",
	"siglongjmp(3)")
{
	volatile int times = 0;
	on_signal(SIGUSR1, jump_out, 0);
	if (sigsetjmp(jump, 1))
		times++;
	if (times < 1000)
		raise(SIGUSR1);
}

static int stop_self(void)
{
	raise(SIGSTOP);
	pause();
	return 7;
}

PROBE(stop_and_continue, "signal/stop-and-continue",
	"A stopped child is reported by WUNTRACED, and a continued one by WCONTINUED.",
	"waitpid(2)")
{
	int status;
	pid_t child = start(stop_self);
	demand_equal(waitpid(child, &status, WUNTRACED), child, "the result of waitpid");
	DEMAND(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "wait status %#x",
		(unsigned)status);
	kill(child, SIGCONT);
	demand_equal(waitpid(child, &status, WCONTINUED), child, "the result of waitpid");
	DEMAND(WIFCONTINUED(status), "wait status %#x", (unsigned)status);
	kill(child, SIGKILL);
	wait_for(child);
}
