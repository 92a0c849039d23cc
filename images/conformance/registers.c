/* Registers: what keeps its value over signals, switches, fork and threads. x86-64 only. */
#ifdef __x86_64__
#define _GNU_SOURCE
#include "probe.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef ARCH_GET_XCOMP_SUPP
#define ARCH_GET_XCOMP_SUPP 0x1021
#define ARCH_GET_XCOMP_PERM 0x1022
#define ARCH_REQ_XCOMP_PERM 0x1023
#endif
enum { TILE_DATA = 18, VECTORS = 32, WIDE = 64 };

/* ---- what the processor and the kernel offer ---- */

static unsigned long enabled_state(void)
{
	unsigned int a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 0;
	__asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return a | (unsigned long)d << 32;
}

static unsigned int features(unsigned int leaf, int which)
{
	unsigned int r[4] = {0};
	__get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]);
	return r[which];
}

static void need_avx(void)
{
	if (!(features(1, 2) & bit_AVX) || (enabled_state() & 6) != 6)
		skips("the processor has no AVX");
}

static void need_avx512(void)
{
	if (!(features(7, 1) & bit_AVX512F) || !(features(7, 1) & bit_AVX512BW) ||
		(enabled_state() & 0xe6) != 0xe6)
		skips("the processor has no AVX-512");
}

static void need_amx(void)
{
	if (!(features(7, 3) & 1U << 24) || (enabled_state() >> 17 & 3) != 3)
		skips("the processor has no AMX");
}

static void need_protection_keys(void)
{
	if (!(features(7, 2) & bit_OSPKE))
		skips("the processor or the kernel has no protection keys");
}

/* ---- loops that hold values in registers until `stop`, and then store them ---- */

static volatile int stop;

#define HOLD(load, store)                                                                          \
	__asm__ volatile(                                                                          \
		load "\n1: pause; cmpl $0, %2; je 1b\n" store ::"r"(in), "r"(out), "m"(stop)       \
		: "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",  \
		"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")
#define EACH_16(F)                                                                                 \
	F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
#define HIGH_16(F)                                                                                 \
	F(16)                                                                                      \
	F(17) F(18) F(19) F(20) F(21) F(22) F(23) F(24) F(25) F(26) F(27) F(28) F(29) F(30) F(31)
#define LOAD_XMM(n) "movdqu " #n "*64(%0), %%xmm" #n "\n"
#define SAVE_XMM(n) "movdqu %%xmm" #n ", " #n "*64(%1)\n"
#define LOAD_YMM(n) "vmovdqu " #n "*64(%0), %%ymm" #n "\n"
#define SAVE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*64(%1)\n"
#define LOAD_ZMM(n) "vmovdqu64 " #n "*64(%0), %%zmm" #n "\n"
#define SAVE_ZMM(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%1)\n"

typedef void (*hold)(const void *in, void *out);

static void hold_xmm(const void *in, void *out)
{
	HOLD(EACH_16(LOAD_XMM), EACH_16(SAVE_XMM));
}

static void hold_ymm(const void *in, void *out)
{
	HOLD(EACH_16(LOAD_YMM), EACH_16(SAVE_YMM) "vzeroupper");
}

static void hold_zmm(const void *in, void *out)
{
	HOLD(EACH_16(LOAD_ZMM), EACH_16(SAVE_ZMM) "vzeroupper");
}

static void hold_zmm_high(const void *in, void *out)
{
	HOLD(HIGH_16(LOAD_ZMM), HIGH_16(SAVE_ZMM));
}

static void hold_masks(const void *in, void *out)
{
	HOLD("kmovq (%0), %%k1; kmovq 64(%0), %%k3; kmovq 128(%0), %%k7",
		"kmovq %%k1, (%1); kmovq %%k3, 64(%1); kmovq %%k7, 128(%1)");
}

static void hold_x87(const void *in, void *out)
{
	HOLD("fninit; fldl (%0); fldl 64(%0); fldl 128(%0)",
		"fstpl 128(%1); fstpl 64(%1); fstpl (%1)");
}

/* A kind of registers: `count` from `first` on, of `bytes` each. */
struct kind {
	hold hold;
	int first, count, bytes;
};
static const struct kind XMM = {hold_xmm, 0, 16, 16}, YMM = {hold_ymm, 0, 16, 32},
			 ZMM = {hold_zmm, 0, 16, 64}, ZMM_HIGH = {hold_zmm_high, 16, 16, 64},
			 MASKS = {hold_masks, 0, 3, 8}, X87 = {hold_x87, 0, 3, 8};

static void fill(unsigned char *values, int seed)
{
	for (int n = 0; n < VECTORS * WIDE; n++)
		values[n] = (unsigned char)(n * 7 + n / WIDE * 31 + seed);
	for (int n = 0; n < 3; n++) /* not a NaN for the x87 */
		values[n * WIDE + 7] = 0x3f;
}

/* Fail if a register of the kind was lost. */
static void compare(const struct kind *kind, const unsigned char *in, const unsigned char *out,
	const char *when)
{
	int lost = 0, first = -1;
	for (int n = kind->first; n < kind->first + kind->count; n++) {
		if (memcmp(in + n * WIDE, out + n * WIDE, (size_t)kind->bytes)) {
			first = first < 0 ? n : first;
			lost++;
		}
	}
	set_value(lost);
	errno = 0;
	DEMAND(!lost, "%d of %d registers are lost %s, the first is number %d", lost, kind->count,
		when, first);
}

static volatile sig_atomic_t calls;

static void disturb(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	if (enabled_state() & 0xe0)
		__asm__ volatile("vpternlogd $255, %%zmm0, %%zmm0, %%zmm0\n"
				 "vpternlogd $255, %%zmm17, %%zmm17, %%zmm17\n"
				 "vpternlogd $255, %%zmm31, %%zmm31, %%zmm31\n"
				 "kxorq %%k1, %%k1, %%k1; kxorq %%k7, %%k7, %%k7; vzeroupper" ::
					 : "xmm0");
	__asm__ volatile("pxor %%xmm1, %%xmm1; pxor %%xmm15, %%xmm15" ::: "xmm1", "xmm15");
	__asm__ volatile("fninit; fldz; fstp %st(0)");
	if (++calls >= 5)
		stop = 1;
}

static void keep_over_signals(const struct kind *kind)
{
	static unsigned char in[VECTORS * WIDE], out[VECTORS * WIDE];
	fill(in, 1);
	on_signal(SIGALRM, disturb, 0);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 2000}, {0, 2000}}, NULL);
	kind->hold(in, out);
	compare(kind, in, out, "over a signal");
	conforms("kept over %d signals", (int)calls);
}

static int hold_others(const struct kind *kind, int seed)
{
	static unsigned char in[VECTORS * WIDE], out[VECTORS * WIDE];
	fill(in, seed);
	on_signal(SIGALRM, disturb, 0);
	calls = -1000;
	kind->hold(in, out);
	return 0;
}

static void end_by_child(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	stop = 1;
}

/* Two processes on one processor hold different values for 30 ms. */
static void keep_over_switches(const struct kind *kind)
{
	static unsigned char in[VECTORS * WIDE], out[VECTORS * WIDE];
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu() < 0 ? 0 : sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	pid_t child = fork();
	if (!child)
		_exit(hold_others(kind, 77));
	fill(in, 1);
	on_signal(SIGALRM, end_by_child, 0);
	setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 30000}}, NULL);
	kind->hold(in, out);
	kill(child, SIGKILL);
	wait_for(child);
	compare(kind, in, out, "over switches between two processes");
}

#define ABI_SIGNAL "sigreturn(2): the context is restored; Documentation/arch/x86/xstate.rst"
#define ABI_SWITCH "every process has registers of its own; arch/x86/kernel/fpu/core.c"

PROBE(x87_signal, "registers/x87-over-signal", "The x87 stack keeps its values over a signal.",
	ABI_SIGNAL)
{
	keep_over_signals(&X87);
}

PROBE(sse_signal, "registers/sse-over-signal", "xmm0 to 15 keep their values over a signal.",
	ABI_SIGNAL)
{
	keep_over_signals(&XMM);
}

PROBE(avx_signal, "registers/avx-over-signal", "ymm0 to 15 keep their values over a signal.",
	ABI_SIGNAL)
{
	need_avx();
	keep_over_signals(&YMM);
}

PROBE(zmm_signal, "registers/avx512-over-signal", "zmm0 to 15 keep their values over a signal.",
	ABI_SIGNAL)
{
	need_avx512();
	keep_over_signals(&ZMM);
}

PROBE(zmm_high_signal, "registers/avx512-high-over-signal",
	"zmm16 to 31 keep their values over a signal.", ABI_SIGNAL)
{
	need_avx512();
	keep_over_signals(&ZMM_HIGH);
}

PROBE(masks_signal, "registers/masks-over-signal",
	"Mask registers keep their values over a signal.", ABI_SIGNAL)
{
	need_avx512();
	keep_over_signals(&MASKS);
}

PROBE(x87_switch, "registers/x87-over-switch",
	"The x87 stack keeps its values when processes take turns.", ABI_SWITCH)
{
	keep_over_switches(&X87);
}

PROBE(sse_switch, "registers/sse-over-switch",
	"xmm0 to 15 keep their values when processes take turns.", ABI_SWITCH)
{
	keep_over_switches(&XMM);
}

PROBE(avx_switch, "registers/avx-over-switch",
	"ymm0 to 15 keep their values when processes take turns.", ABI_SWITCH)
{
	need_avx();
	keep_over_switches(&YMM);
}

PROBE(zmm_switch, "registers/avx512-over-switch",
	"zmm0 to 15 keep their values when processes take turns.", ABI_SWITCH)
{
	need_avx512();
	keep_over_switches(&ZMM);
}

PROBE(zmm_high_switch, "registers/avx512-high-over-switch",
	"zmm16 to 31 keep their values when processes take turns.", ABI_SWITCH)
{
	need_avx512();
	keep_over_switches(&ZMM_HIGH);
}

PROBE(masks_switch, "registers/masks-over-switch",
	"Mask registers keep their values when processes take turns.", ABI_SWITCH)
{
	need_avx512();
	keep_over_switches(&MASKS);
}

/* ---- the rights of protection keys ---- */

enum { DENY_KEY_2 = 3 << 4 };
static volatile unsigned int rights_in_handler;

static unsigned int read_rights(void)
{
	unsigned int rights, zero;
	__asm__ volatile("rdpkru" : "=a"(rights), "=d"(zero) : "c"(0));
	return rights;
}

static void write_rights(unsigned int rights)
{
	__asm__ volatile("wrpkru" ::"a"(rights), "c"(0), "d"(0) : "memory");
}

static void note_rights(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	rights_in_handler = read_rights();
	write_rights(0);
}

PROBE(rights_signal, "registers/pkru-over-signal", "PKRU keeps its value over a signal.",
	"pkeys(7): the rights of the interrupted context are restored when the handler returns")
{
	need_protection_keys();
	on_signal(SIGUSR1, note_rights, 0);
	write_rights(DENY_KEY_2);
	kill(getpid(), SIGUSR1);
	demand_equal(read_rights(), DENY_KEY_2, "PKRU after the handler");
}

PROBE(rights_handler, "registers/pkru-in-handler", "A handler starts with the initial PKRU.",
	"pkeys(7): a handler is given a new, default set of protection key rights")
{
	need_protection_keys();
	unsigned int initial = read_rights();
	on_signal(SIGUSR1, note_rights, 0);
	write_rights(DENY_KEY_2);
	kill(getpid(), SIGUSR1);
	demand_equal(rights_in_handler, initial, "PKRU in the handler");
}

static int rights_of_child(void)
{
	return read_rights() == DENY_KEY_2;
}

PROBE(rights_fork, "registers/pkru-over-fork", "A child of fork has the PKRU of its parent.",
	"pkeys(7): rights are copied at clone(2)")
{
	need_protection_keys();
	write_rights(DENY_KEY_2);
	demand_equal(in_child(rights_of_child), 1, "whether the child has it");
}

/* ---- over system calls, fork and new threads ---- */

PROBE(sse_syscall, "registers/sse-over-syscall", "System calls keep xmm0 to 15.",
	"System V ABI for AMD64, A.2.1: the kernel only changes rcx, r11 and rax")
{
	unsigned char in[64] = "0123456789abcdef", out[64];
	for (int n = 0; n < 100; n++) {
		long number = SYS_sched_yield;
		__asm__ volatile("movdqu (%1), %%xmm3; movdqu (%1), %%xmm15; syscall\n"
				 "movdqu %%xmm3, (%2); movdqu %%xmm15, 16(%2)"
			: "+a"(number)
			: "r"(in), "r"(out)
			: "rcx", "r11", "memory", "xmm3", "xmm15");
		DEMAND(!memcmp(in, out, 16) && !memcmp(in, out + 16, 16), "a register was changed");
	}
}

PROBE(syscall_registers, "registers/syscall-registers",
	"A system call changes rax, rcx and r11 only.", "System V ABI for AMD64, A.2.1")
{
	unsigned long rax = SYS_getpid, sum;
	__asm__ volatile(
		"mov $1, %%edi; mov $2, %%esi; mov $3, %%edx; mov $4, %%r10d; mov $5, %%r8d\n"
		"mov $6, %%r9d; syscall\n"
		"lea (%%rdi,%%rsi,2), %%rdi; lea (%%rdi,%%rdx,4), %%rdi; lea (%%rdi,%%r10,8), "
		"%%rdi\n"
		"imul $3, %%rdi; add %%r8, %%rdi; imul $3, %%rdi; add %%r9, %%rdi"
		: "+a"(rax), "=D"(sum)::"rsi", "rdx", "r8", "r9", "r10", "rcx", "r11", "memory");
	demand_equal((long)sum, ((1 + 4 + 12 + 32) * 3 + 5) * 3 + 6, "the sum of the registers");
}

PROBE(syscall_rcx, "registers/syscall-rcx-r11",
	"After a system call rcx is the address of the next instruction and r11 the flags.",
	"Intel SDM volume 2, SYSCALL; Documentation/arch/x86/entry_64.rst")
{
	unsigned long rax = SYS_getpid, rcx, r11, wanted;
	__asm__ volatile("lea 1f(%%rip), %3; syscall; 1:"
		: "+a"(rax), "=c"(rcx), "=&r"(wanted), "=&r"(r11)::"r11", "memory");
	(void)r11;
	__asm__ volatile("lea 1f(%%rip), %2; syscall; 1: mov %%r11, %3"
		: "+a"(rax), "=c"(rcx), "=&r"(wanted), "=&r"(r11)::"r11", "memory");
	set_value((long)rcx);
	DEMAND(rcx == wanted, "rcx is %#lx, not %#lx", rcx, wanted);
	set_value((long)r11);
	DEMAND(r11 & 0x202, "r11 is %#lx: these are not the flags", r11);
}

static const unsigned char FORTY[64] =
	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.";

PROBE(avx_fork, "registers/avx-over-fork",
	"A child of fork has the vector registers of its parent.",
	"fork(2): the child is an exact duplicate; arch/x86/kernel/fpu/core.c, fpu_clone")
{
	need_avx();
	unsigned char out[32];
	long result = SYS_fork;
	__asm__ volatile("vmovdqu (%1), %%ymm9; syscall; vmovdqu %%ymm9, (%2); vzeroupper"
		: "+a"(result)
		: "r"(FORTY), "r"(out)
		: "rcx", "r11", "memory", "xmm9");
	if (result < 0)
		cannot("fork");
	if (!result)
		_exit(memcmp(FORTY, out, sizeof out) != 0);
	int status = wait_for((pid_t)result);
	DEMAND(!memcmp(FORTY, out, sizeof out), "the parent lost its register");
	demand_equal(WEXITSTATUS(status), 0, "the status of a child that compares them");
}

PROBE(mxcsr_fork, "registers/mxcsr-over-fork",
	"A child of fork has the MXCSR and x87 control word of its parent.", "fork(2); fegetenv(3)")
{
	unsigned int mxcsr = 0x7fc0, got; /* round to zero, denormals are zeros */
	unsigned short control = 0x0f7f, got_control;
	__asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
	pid_t child = fork();
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(got), "=m"(got_control));
	if (!child)
		_exit(got != mxcsr || got_control != control);
	demand_equal(wait_for(child), 0, "the status of a child that compares them");
	demand_equal(got, mxcsr, "MXCSR");
}

static void note_environment(int number, siginfo_t *info, void *context)
{
	unsigned int mxcsr;
	unsigned short control;
	(void)number, (void)info, (void)context;
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(control));
	set_value(mxcsr);
	DEMAND((mxcsr & 0xffc0) == 0x1f80, "MXCSR in the handler is %#x, not 0x1f80", mxcsr);
	DEMAND(control == 0x37f, "the x87 control word in the handler is %#x, not 0x37f", control);
	calls++;
}

PROBE(handler_environment, "registers/handler-environment",
	"A handler starts with the initial floating-point state.",
	"arch/x86/kernel/signal.c, handle_signal: fpu__clear_user_states")
{
	unsigned int mxcsr = 0x7fc0, got;
	unsigned short control = 0x0f7f;
	on_signal(SIGUSR1, note_environment, 0);
	__asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
	raise(SIGUSR1);
	__asm__ volatile("stmxcsr %0" : "=m"(got));
	demand_equal(calls, 1, "the number of handlers");
	demand_equal(got, mxcsr, "MXCSR after the handler");
}

/* glibc's memcpy holds bytes in ymm16 to 31 if the processor has AVX-512, and its strlen uses
 * masks. */
enum { COPIED = 8192, COPIES = 1000, COPY_EVERY_US = 500, INTERRUPTIONS = 400 };
static unsigned char copied_from[COPIED], copied_to[COPIED], of_handler[2][COPIED];

static void copy_in_handler(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	memcpy(of_handler[1], of_handler[0], COPIED);
	stop += (int)strlen((const char *)of_handler[1]);
	calls++;
}

static long wrong_bytes(void)
{
	long wrong = 0;
	for (size_t at = 0; at < COPIED; at++)
		wrong += copied_to[at] != 0x5a;
	return wrong;
}

PROBE(memcpy_signal, "registers/memcpy-over-signal",
	"memcpy copies the right bytes, also if a handler that calls memcpy and strlen interrupts "
	"it.",
	ABI_SIGNAL)
{
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	double end = now() + 10; /* on a busy host a guest gets few signals in a second */
	long copies = 0, wrong = 0;
	memset(copied_from, 0x5a, COPIED);
	memset(of_handler[0], 0x3c, COPIED - 1);
	on_signal(SIGALRM, copy_in_handler, 0);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, COPY_EVERY_US}, {0, COPY_EVERY_US}}, NULL);
	while (!wrong && calls < INTERRUPTIONS && now() < end) {
		for (int n = 0; n < COPIES && !wrong; n++, copies++) {
			copy(copied_to, copied_from, COPIED);
			/* as quick as the copy, so that many signals interrupt a copy */
			if (memcmp(copied_to, copied_from, COPIED))
				wrong = wrong_bytes();
		}
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL); /* it would disturb the answer, too */
	set_value(wrong);
	DEMAND(!wrong, "%ld of %ld bytes were copied wrong", wrong, copies * COPIED);
	conforms("%ld copies of %d bytes", copies, COPIED);
}

/* ---- FS and GS ---- */

static unsigned long base_of(int code)
{
	unsigned long base = 0;
	if (syscall(SYS_arch_prctl, code, &base))
		cannot("arch_prctl");
	return base;
}

PROBE(gs_set, "registers/gs-base",
	"arch_prctl sets the base of GS, and memory is reached through it.", "arch_prctl(2)")
{
	unsigned long word = 0x1122334455667788UL, got;
	demand_errno(syscall(SYS_arch_prctl, ARCH_SET_GS, &word), 0, "arch_prctl(ARCH_SET_GS)");
	__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
	demand_equal((long)got, (long)word, "the word at gs:0");
	demand_equal((long)base_of(ARCH_GET_GS), (long)(uintptr_t)&word, "the base of GS");
}

PROBE(gs_high, "registers/gs-base-refused",
	"arch_prctl refuses a base above the user's addresses with EPERM.", "arch_prctl(2)")
{
	demand_errno(syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000UL), EPERM,
		"arch_prctl(ARCH_SET_GS)");
}

static pthread_barrier_t barrier;

static void *switch_gs(void *word)
{
	unsigned long got;
	for (int n = 0; n < 50; n++) {
		if (!n && syscall(SYS_arch_prctl, ARCH_SET_GS, word))
			cannot("arch_prctl");
		pthread_barrier_wait(&barrier);
		sched_yield();
		__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
		if (got != *(unsigned long *)word)
			differs("a thread reads %#lx through its GS, not %#lx", got,
				*(unsigned long *)word);
	}
	return NULL;
}

static void with_four_threads(void *(*run)(void *))
{
	static unsigned long words[4] = {1, 2, 3, 4};
	pthread_t threads[4];
	pthread_barrier_init(&barrier, NULL, 4);
	for (int n = 0; n < 4; n++)
		if (pthread_create(&threads[n], NULL, run, &words[n]))
			cannot("pthread_create");
	for (int n = 0; n < 4; n++)
		pthread_join(threads[n], NULL);
}

PROBE(gs_threads, "registers/gs-per-thread", "Each thread keeps its own base of GS.",
	"arch_prctl(2): the base of the calling thread")
{
	with_four_threads(switch_gs);
}

PROBE(gs_signal, "registers/gs-over-signal",
	"The base of GS is the same in a handler and after it.",
	"arch_prctl(2); signal frames do not hold it")
{
	unsigned long word = 42, got;
	on_signal(SIGUSR1, disturb, 0);
	syscall(SYS_arch_prctl, ARCH_SET_GS, &word);
	for (int n = 0; n < 20; n++) {
		raise(SIGUSR1);
		__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
		demand_equal((long)got, 42, "the word at gs:0");
	}
}

PROBE(gs_fork, "registers/gs-over-fork", "A child of fork has the base of GS of its parent.",
	"fork(2)")
{
	static unsigned long word = 42;
	unsigned long got = 0;
	syscall(SYS_arch_prctl, ARCH_SET_GS, &word);
	pid_t child = fork();
	__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
	if (!child)
		_exit((int)got);
	demand_equal(WEXITSTATUS(wait_for(child)), 42, "what the child reads at gs:0");
	demand_equal((long)got, 42, "what the parent reads at gs:0");
}

static void read_gs_base(void *unused)
{
	unsigned long base;
	(void)unused;
	__asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0xae, 0xc8" : "=a"(base)); /* rdgsbase %rax */
}

static void need_fsgsbase(void)
{
	if (fault_of(read_gs_base, NULL).number)
		skips("the instructions for the bases of FS and GS are not enabled");
}

PROBE(hwcap2_fsgsbase, "registers/fsgsbase-offered",
	"AT_HWCAP2 offers the instruction wrgsbase if and only if it works.",
	"Documentation/arch/x86/x86_64/fsgs.rst")
{
	bool offered = getauxval(AT_HWCAP2) & 2;
	int signal_of_read = fault_of(read_gs_base, NULL).number;
	set_value(offered);
	errno = 0;
	DEMAND(!offered || !signal_of_read, "it is offered, and rdgsbase raises signal %d",
		signal_of_read);
	DEMAND(offered || signal_of_read, "it works, and AT_HWCAP2 (%#lx) does not offer it",
		getauxval(AT_HWCAP2));
}

static void *write_gs(void *word)
{
	unsigned long got;
	__asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0xae, 0xd8" ::"a"(word)); /* wrgsbase %rax */
	for (int n = 0; n < 50; n++) {
		pthread_barrier_wait(&barrier);
		sched_yield();
		__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
		if (got != *(unsigned long *)word)
			differs("a thread reads %#lx through its GS, not %#lx", got,
				*(unsigned long *)word);
	}
	return NULL;
}

PROBE(wrgsbase_threads, "registers/wrgsbase-per-thread",
	"A base of GS that wrgsbase has set stays with its thread.",
	"Documentation/arch/x86/x86_64/fsgs.rst")
{
	need_fsgsbase();
	with_four_threads(write_gs);
}

PROBE(wrfsbase_read, "registers/wrfsbase-seen",
	"arch_prctl(ARCH_GET_FS) tells a base that wrfsbase has set.",
	"Documentation/arch/x86/x86_64/fsgs.rst")
{
	need_fsgsbase();
	static unsigned long place[512];
	unsigned long told = 0;
	long result = SYS_arch_prctl;
	unsigned long before = base_of(ARCH_GET_FS);
	register unsigned long *other __asm__("r8") = place + 256;
	register unsigned long own __asm__("r9") = before;
	__asm__ volatile(".byte 0xf3, 0x49, 0x0f, 0xae, 0xd0\n" /* wrfsbase %r8 */
			 "syscall\n"
			 ".byte 0xf3, 0x49, 0x0f, 0xae, 0xd1\n" /* wrfsbase %r9 */
		: "+a"(result)
		: "D"((long)ARCH_GET_FS), "S"(&told), "r"(other), "r"(own)
		: "rcx", "r11", "memory");
	demand_equal((long)told, (long)(uintptr_t)(place + 256), "the base of FS");
}

PROBE(wrgsbase_signal, "registers/wrgsbase-over-signal",
	"A base of GS that wrgsbase has set is the same after a signal and a switch.",
	"Documentation/arch/x86/x86_64/fsgs.rst")
{
	static unsigned long word = 42;
	unsigned long got;
	need_fsgsbase();
	__asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0xae, 0xd8" ::"a"(&word)); /* wrgsbase %rax */
	on_signal(SIGUSR1, disturb, 0);
	for (int n = 0; n < 20; n++) {
		raise(SIGUSR1);
		sleep_ms(1);
		__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
		demand_equal((long)got, 42, "the word at gs:0");
	}
}

static void *read_own_fs(void *seen)
{
	*(unsigned long *)seen = base_of(ARCH_GET_FS);
	return NULL;
}

PROBE(fs_threads, "registers/fs-per-thread",
	"Each thread has the base of FS that clone gave it: its pthread_t.",
	"clone(2), CLONE_SETTLS; set_thread_area(2)")
{
	pthread_t thread;
	unsigned long seen = 0;
	if (pthread_create(&thread, NULL, read_own_fs, &seen))
		cannot("pthread_create");
	unsigned long wanted = (unsigned long)thread;
	pthread_join(thread, NULL);
	demand_equal((long)seen, (long)wanted, "the base of FS");
	demand_equal((long)base_of(ARCH_GET_FS), (long)pthread_self(),
		"the base of FS of the first thread");
}

/* ---- AMX ---- */

static unsigned long permitted(void)
{
	unsigned long mask = 0;
	if (syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &mask))
		return 0;
	return mask;
}

static void configure_tiles(void *config)
{
	__asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" ::"a"(config)); /* ldtilecfg (%rax) */
	__asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0");               /* tilezero %tmm0 */
}

static void make_config(unsigned char *config)
{
	memset(config, 0, 64);
	config[0] = 1;                    /* palette */
	config[16] = 64, config[48] = 16; /* tmm0: bytes of a row, rows */
}

PROBE(amx_refused, "registers/amx-without-permission",
	"Without permission the first use of AMX tiles raises SIGILL.",
	"Documentation/arch/x86/xstate.rst")
{
	unsigned char config[64] __attribute__((aligned(64)));
	need_amx();
	make_config(config);
	struct fault fault = fault_of(configure_tiles, config);
	set_value(fault.number);
	errno = 0;
	DEMAND(fault.number == SIGILL, "%s",
		fault.number ? "another signal" : "the tiles can be used");
}

PROBE(amx_permission, "registers/amx-permission",
	"A process may ask for AMX tiles (ARCH_REQ_XCOMP_PERM), and use them then.",
	"Documentation/arch/x86/xstate.rst")
{
	unsigned char config[64] __attribute__((aligned(64)));
	need_amx();
	make_config(config);
	demand_errno(syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA), 0,
		"arch_prctl(ARCH_REQ_XCOMP_PERM)");
	DEMAND(permitted() & 1UL << TILE_DATA, "ARCH_GET_XCOMP_PERM tells %#lx", permitted());
	struct fault fault = fault_of(configure_tiles, config);
	demand_equal(fault.number, 0, "the signal of the first use");
}

PROBE(amx_signal, "registers/amx-over-signal", "AMX tiles keep their values over a signal.",
	"Documentation/arch/x86/xstate.rst")
{
	static unsigned char config[64] __attribute__((aligned(64)));
	static unsigned char in[1024] __attribute__((aligned(64))),
		out[1024] __attribute__((aligned(64)));
	need_amx();
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA))
		skips("the kernel does not give the permission");
	make_config(config);
	for (int n = 0; n < 1024; n++)
		in[n] = (unsigned char)(n * 3 + 1);
	on_signal(SIGALRM, disturb, 0);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 2000}, {0, 2000}}, NULL);
	__asm__ volatile(
		"mov $64, %%ecx\n"
		".byte 0xc4, 0xe2, 0x78, 0x49, 0x00\n"       /* ldtilecfg (%rax) */
		".byte 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x0e\n" /* tileloadd (%rsi,%rcx), %tmm0 */
		"1: pause; cmpl $0, %3; je 1b\n"
		".byte 0xc4, 0xe2, 0x7a, 0x4b, 0x04, 0x0f\n" /* tilestored %tmm0, (%rdi,%rcx) */
		".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0\n"       /* tilerelease */
		::"a"(config),
		"S"(in), "D"(out), "m"(stop)
		: "rcx", "memory", "cc");
	DEMAND(!memcmp(in, out, sizeof in), "the tile is lost over a signal");
}

/* The kernel's own auxiliary vector: the C library changes what getauxval returns for some types.
 */
static unsigned long auxiliary(unsigned long type)
{
	unsigned long entry[2];
	FILE *vector = fopen("/proc/self/auxv", "r");
	if (!vector)
		skips("there is no /proc");
	while (fread(entry, sizeof entry, 1, vector) == 1 && entry[0])
		if (entry[0] == type)
			return entry[1];
	return 0;
}

PROBE(hwcap, "registers/at-hwcap", "AT_HWCAP is the feature word of CPUID leaf 1.",
	"getauxval(3); arch/x86/include/asm/elf.h, ELF_HWCAP")
{
	unsigned long told = auxiliary(AT_HWCAP), word = features(1, 3);
	set_value((long)told);
	/* the kernel may clear bits that it does not use */
	DEMAND(told && !(told & ~word), "AT_HWCAP is %#lx, and CPUID %#lx", told, word);
}

PROBE(platform, "registers/at-platform", "AT_PLATFORM is x86_64.", "getauxval(3)")
{
	const char *name = (const char *)auxiliary(AT_PLATFORM);
	DEMAND(name, "it is absent");
	DEMAND(!strcmp(name, "x86_64"), "it is %s", name);
}
#endif
