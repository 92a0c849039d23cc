/* The registers of a traced thread at a system call, for each architecture.
 *
 * Nothing else in the tracer depends on the architecture. On one that is missing here every access
 * fails with ENOSYS; the harness requests no faults there (harness/guests/limit_support.py). */
#ifndef FOOTHOLD_SYSCALL_REGS_H
#define FOOTHOLD_SYSCALL_REGS_H

#include <errno.h>
#include <linux/audit.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>

/* With this number the kernel skips a call and keeps the result register. */
#define NO_CALL (-1)

/* Calls that some architectures lack, or name differently. */
#if defined __i386__ || defined __arm__
#undef SYS_mmap
#define SYS_mmap SYS_mmap2
#define MMAP_NAME "mmap2"
#else
#define MMAP_NAME "mmap"
#endif
#ifdef __NR_Linux /* mips */
#define FIRST_CALL __NR_Linux
#else
#define FIRST_CALL 0
#endif
#ifndef SYS_shmat
#define SYS_shmat NO_CALL
#endif
#ifndef SYS_shmget
#define SYS_shmget NO_CALL
#endif
#ifndef SYS_shmdt
#define SYS_shmdt NO_CALL
#endif
#ifndef SYS_map_shadow_stack
#ifdef __i386__
#define SYS_map_shadow_stack NO_CALL
#else
#define SYS_map_shadow_stack                                                                       \
	(FIRST_CALL + 453) /* include/uapi/asm-generic/unistd.h, since Linux 6.6 */
#endif
#endif
#ifndef SYS_mseal
#define SYS_mseal (FIRST_CALL + 462) /* on all architectures, since Linux 6.10 */
#endif
#ifndef SYS_getrlimit
#define SYS_getrlimit NO_CALL
#endif
#ifndef SYS_setrlimit
#define SYS_setrlimit NO_CALL
#endif

/* 32-bit programs, which a 64-bit kernel runs as well: i386 on x86-64, arm on arm64. The numbers of
 * their calls differ. They are translated where registers are read and written. */
#ifdef __x86_64__
#define AUDIT_ARCH_COMPAT AUDIT_ARCH_I386
#elif defined __aarch64__
#define AUDIT_ARCH_COMPAT AUDIT_ARCH_ARM
#endif
#define OTHER_CALL (-2)  /* one that has no translation */
#define OLD_MMAP 0xfffff /* instead of a number: mmap(2) of i386, whose arguments are in memory */
#define COMPAT_END (1ULL << 32)

/* The number of the same call of the other kind of program, or OTHER_CALL. */
long call_of_compat(long number);
long compat_of_call(long number);

#ifdef __s390x__
#define CLONE_FLAGS 1 /* the argument of clone(2) that has its flags */
#else
#define CLONE_FLAGS 0
#endif

struct call {
	long number;
	uint64_t arguments[6];
};

/* The result of a 32-bit program. An address may look negative; only the last page of values are
 * errors. */
static inline int64_t compat_result(uint32_t value)
{
	return value > UINT32_MAX - 4095 ? (int32_t)value : (int64_t)value;
}

#if defined __arm__ || defined __aarch64__
/* svc 0 and the break point of the kernel, in Thumb (twice) or in ARM. */
static inline uint64_t arm_syscall_and_trap(bool thumb)
{
	return thumb ? 0xde01df00de01df00U : 0xe7f001f0ef000000U;
}
#endif

#ifdef __x86_64__
#define AUDIT_ARCH_HERE AUDIT_ARCH_X86_64
#define SYSCALL_AND_TRAP 0xcc050fULL /* syscall; int3 */
#define SYSCALL_AND_TRAP_MASK 0xffffffULL
#define COMPAT_SYSCALL_AND_TRAP 0xcc80cdULL /* int 0x80; int3 */
#define SYSCALL_BYTES 2
#define COMPAT_CODE 0x23 /* __USER32_CS: the code segment of a program for i386 */
typedef struct user_regs_struct registers;

static inline bool is_compat(const registers *all)
{
	return all->cs == COMPAT_CODE;
}

static inline int get_registers(pid_t tid, registers *all)
{
	return (int)ptrace(PTRACE_GETREGS, tid, 0, all);
}
static inline int set_registers(pid_t tid, const registers *all)
{
	return (int)ptrace(PTRACE_SETREGS, tid, 0, all);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->rip;
}
static inline int64_t call_result(const registers *all)
{
	return is_compat(all) ? compat_result((uint32_t)all->rax) : (int64_t)all->rax;
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->rax = (uint64_t)value;
}

static inline struct call current_call(const registers *all)
{
	if (is_compat(all))
		return (struct call){call_of_compat((int)all->orig_rax),
			{(uint32_t)all->rbx, (uint32_t)all->rcx, (uint32_t)all->rdx,
				(uint32_t)all->rsi, (uint32_t)all->rdi, (uint32_t)all->rbp}};
	return (struct call){
		(long)all->orig_rax, {all->rdi, all->rsi, all->rdx, all->r10, all->r8, all->r9}};
}

static inline void set_call_arguments(registers *all, const struct call *call)
{
	if (is_compat(all)) {
		all->rbx = (uint32_t)call->arguments[0], all->rcx = (uint32_t)call->arguments[1];
		all->rdx = (uint32_t)call->arguments[2], all->rsi = (uint32_t)call->arguments[3];
		all->rdi = (uint32_t)call->arguments[4], all->rbp = (uint32_t)call->arguments[5];
		return;
	}
	all->rdi = call->arguments[0], all->rsi = call->arguments[1], all->rdx = call->arguments[2];
	all->r10 = call->arguments[3], all->r8 = call->arguments[4], all->r9 = call->arguments[5];
}

/* Prepare a call from the current instruction, which is a system call instruction. */
static inline void prepare_call(registers *all, const struct call *call)
{
	long number = is_compat(all) ? compat_of_call(call->number) : call->number;
	all->rax = (uint64_t)number;
	all->orig_rax = (uint64_t)NO_CALL; /* no call in progress that the kernel could restart */
	set_call_arguments(all, call);
}

/* After a call: make it again. */
static inline void repeat_call(registers *all, const struct call *call)
{
	all->rip -= SYSCALL_BYTES;
	prepare_call(all, call);
}

/* Before a call: skip it and return the error. */
static inline void skip_call(registers *all, int error)
{
	all->orig_rax = (uint64_t)NO_CALL;
	set_call_result(all, -error);
}
#elif defined __i386__
#define AUDIT_ARCH_HERE AUDIT_ARCH_I386
#define SYSCALL_AND_TRAP 0xcc80cdULL /* int 0x80; int3 */
#define SYSCALL_AND_TRAP_MASK 0xffffffULL
#define SYSCALL_BYTES 2
typedef struct user_regs_struct registers;

static inline int get_registers(pid_t tid, registers *all)
{
	return (int)ptrace(PTRACE_GETREGS, tid, 0, all);
}
static inline int set_registers(pid_t tid, const registers *all)
{
	return (int)ptrace(PTRACE_SETREGS, tid, 0, all);
}
static inline uint64_t program_counter(const registers *all)
{
	return (uint32_t)all->eip;
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->eax = (long)value;
}

static inline int64_t call_result(const registers *all)
{
	return compat_result((uint32_t)all->eax);
}

static inline struct call current_call(const registers *all)
{
	return (struct call){
		all->orig_eax, {(uint32_t)all->ebx, (uint32_t)all->ecx, (uint32_t)all->edx,
				       (uint32_t)all->esi, (uint32_t)all->edi, (uint32_t)all->ebp}};
}

static inline void set_call_arguments(registers *all, const struct call *call)
{
	all->ebx = (long)call->arguments[0], all->ecx = (long)call->arguments[1],
	all->edx = (long)call->arguments[2];
	all->esi = (long)call->arguments[3], all->edi = (long)call->arguments[4],
	all->ebp = (long)call->arguments[5];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	all->eax = call->number;
	all->orig_eax = NO_CALL;
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->eip -= SYSCALL_BYTES;
	prepare_call(all, call);
}

static inline void skip_call(registers *all, int error)
{
	all->orig_eax = NO_CALL;
	set_call_result(all, -error);
}
#elif defined __aarch64__ || defined __riscv || defined __powerpc64__ || defined __loongarch64 ||  \
	defined __mips64 || defined __s390x__
#include <elf.h>
#include <sys/uio.h>

static inline int transfer_registers(int request, pid_t tid, int which, void *set, size_t size)
{
	struct iovec all = {set, size};
	return (int)ptrace(request, tid, (void *)(uintptr_t)which, &all);
}
#ifndef __s390x__
#define SYSCALL_AND_TRAP_MASK UINT64_MAX
#define SYSCALL_BYTES 4
#endif
#endif

#ifdef __aarch64__
#define AUDIT_ARCH_HERE AUDIT_ARCH_AARCH64
#define SYSCALL_AND_TRAP 0xd4200000d4000001ULL /* svc #0; brk #0 */
/* The number of the current call is a register set of its own; NO_CALL outside of a call. A program
 * for arm has 16 registers of 32 bits, the status register, and the first argument of the call. */
enum { COMPAT_REGISTERS = 18, COMPAT_NUMBER = 7, COMPAT_COUNTER = 15, COMPAT_STATUS = 16 };
#define COMPAT_THUMB 0x20 /* a bit of the status register: instructions of 2 bytes */
typedef struct {
	union {
		struct user_regs_struct own;
		uint32_t compat[COMPAT_REGISTERS];
	};
	size_t size; /* of the set */
	int number;
} registers;

static inline bool is_compat(const registers *all)
{
	return all->size == sizeof all->compat;
}

static inline int get_registers(pid_t tid, registers *all)
{
	struct iovec set = {&all->own, sizeof all->own};
	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &set) < 0)
		return -1;
	all->size = set.iov_len;
	return transfer_registers(
		PTRACE_GETREGSET, tid, NT_ARM_SYSTEM_CALL, &all->number, sizeof all->number);
}

static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	return transfer_registers(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy.own, copy.size) |
	       transfer_registers(
		       PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &copy.number, sizeof copy.number);
}
/* The lowest bit of the first instruction of a program may be set: it is one of Thumb. */
static inline uint64_t program_counter(const registers *all)
{
	return is_compat(all) ? all->compat[COMPAT_COUNTER] & ~1U : all->own.pc;
}
static inline int64_t call_result(const registers *all)
{
	return is_compat(all) ? compat_result(all->compat[0]) : (int64_t)all->own.regs[0];
}
static inline void set_call_result(registers *all, int64_t value)
{
	if (is_compat(all))
		all->compat[0] = (uint32_t)value;
	else
		all->own.regs[0] = (uint64_t)value;
}

static inline struct call current_call(const registers *all)
{
	struct call call = {is_compat(all) ? call_of_compat(all->number) : all->number, {0}};
	for (int i = 0; i < 6; i++)
		call.arguments[i] = is_compat(all) ? all->compat[i] : all->own.regs[i];
	return call;
}

/* The first argument shares its register with the result: set the result last. */
static inline void set_call_arguments(registers *all, const struct call *call)
{
	for (int i = 0; i < 6; i++)
		if (is_compat(all))
			all->compat[i] = (uint32_t)call->arguments[i];
		else
			all->own.regs[i] = call->arguments[i];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	if (is_compat(all))
		all->compat[COMPAT_NUMBER] = (uint32_t)compat_of_call(call->number);
	else
		all->own.regs[8] = (uint64_t)call->number;
	all->number = NO_CALL;
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	if (is_compat(all))
		all->compat[COMPAT_COUNTER] -= all->compat[COMPAT_STATUS] & COMPAT_THUMB ? 2 : 4;
	else
		all->own.pc -= SYSCALL_BYTES;
	prepare_call(all, call);
}

static inline void skip_call(registers *all, int error)
{
	all->number = NO_CALL;
	set_call_result(all, -error);
}

static inline uint64_t syscall_and_trap(const registers *all)
{
	if (is_compat(all))
		return arm_syscall_and_trap(all->compat[COMPAT_STATUS] & COMPAT_THUMB);
	return SYSCALL_AND_TRAP;
}
#elif defined __riscv
#include <asm/ptrace.h>

#define AUDIT_ARCH_HERE AUDIT_ARCH_RISCV64
#define SYSCALL_AND_TRAP 0x0010007300000073ULL /* ecall; ebreak */
#define GET_SYSCALL_INFO 0x420e /* PTRACE_GET_SYSCALL_INFO, PTRACE_SET_SYSCALL_INFO: Linux 6.16 */
#define SET_SYSCALL_INFO 0x4212
#define AT_SECCOMP_STOP 3 /* PTRACE_SYSCALL_INFO_SECCOMP */
/* The kernel keeps the first argument of a call outside of the registers. Before a call it is read
 * and changed by these requests (linux/ptrace.h). */
struct syscall_info {
	uint8_t op, reserved;
	uint16_t flags;
	uint32_t machine;
	uint64_t instruction, stack, number, arguments[6], data;
};
typedef struct {
	struct user_regs_struct own;
	struct syscall_info info;
} registers;

static inline int get_registers(pid_t tid, registers *all)
{
	all->info = (struct syscall_info){.op = 0};
	if (ptrace(GET_SYSCALL_INFO, tid, (void *)sizeof all->info, &all->info) < 0)
		return -1;
	return transfer_registers(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all->own, sizeof all->own);
}

static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	copy.info.reserved = 0, copy.info.flags = 0, copy.info.data = 0;
	if (transfer_registers(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy.own, sizeof copy.own) < 0)
		return -1;
	return all->info.op == AT_SECCOMP_STOP
		       ? (int)ptrace(SET_SYSCALL_INFO, tid, (void *)sizeof copy.info, &copy.info)
		       : 0;
}
static inline uint64_t program_counter(const registers *all)
{
	return all->own.pc;
}
static inline int64_t call_result(const registers *all)
{
	return (int64_t)all->own.a0;
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->own.a0 = (uint64_t)value;
}

static inline struct call current_call(const registers *all)
{
	const struct user_regs_struct *own = &all->own;
	struct call call = {(long)own->a7, {own->a0, own->a1, own->a2, own->a3, own->a4, own->a5}};
	if (all->info.op == AT_SECCOMP_STOP) {
		call.number = (long)all->info.number;
		for (int i = 0; i < 6; i++)
			call.arguments[i] = all->info.arguments[i];
	}
	return call;
}

/* The first argument shares its register with the result: set the result last. */
static inline void set_call_arguments(registers *all, const struct call *call)
{
	const uint64_t *from = call->arguments;
	all->own.a7 = (unsigned long)call->number;
	all->own.a0 = from[0], all->own.a1 = from[1], all->own.a2 = from[2];
	all->own.a3 = from[3], all->own.a4 = from[4], all->own.a5 = from[5];
	all->info.number = (uint64_t)call->number;
	for (int i = 0; i < 6; i++)
		all->info.arguments[i] = from[i];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->own.pc -= SYSCALL_BYTES;
	prepare_call(all, call);
}

static inline void skip_call(registers *all, int error)
{
	all->info.number = (uint64_t)NO_CALL;
	set_call_result(all, -error);
}
#elif defined __powerpc64__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <asm/ptrace.h>

#define AUDIT_ARCH_HERE AUDIT_ARCH_PPC64LE
#define SYSCALL_AND_TRAP 0x7fe0000844000002ULL /* sc; trap */
#define BY_SCV 0x3000       /* pt_regs.trap: the call was made by scv, not by sc */
#define FAILED 0x10000000UL /* pt_regs.ccr: the result of sc is an errno */
typedef struct pt_regs registers;

static inline int get_registers(pid_t tid, registers *all)
{
	return transfer_registers(PTRACE_GETREGSET, tid, NT_PRSTATUS, all, sizeof *all);
}
static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	return transfer_registers(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy, sizeof copy);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->nip;
}
static inline bool shows_errno(const registers *all)
{
	return (all->trap & ~0xfUL) != BY_SCV && (all->ccr & FAILED);
}
static inline int64_t call_result(const registers *all)
{
	return shows_errno(all) ? -(int64_t)all->gpr[3] : (int64_t)all->gpr[3];
}
static inline void set_call_result(registers *all, int64_t value)
{
	bool error = value < 0 && value >= -4095;
	all->ccr &= ~FAILED;
	if (error && (all->trap & ~0xfUL) != BY_SCV) {
		all->ccr |= FAILED;
		value = -value;
	}
	all->gpr[3] = (unsigned long)value;
}

static inline struct call current_call(const registers *all)
{
	const unsigned long *gpr = all->gpr;
	return (struct call){(int)gpr[0], {all->orig_gpr3, gpr[4], gpr[5], gpr[6], gpr[7], gpr[8]}};
}

/* The first argument shares its register with the result: set the result last. */
static inline void set_call_arguments(registers *all, const struct call *call)
{
	all->orig_gpr3 = call->arguments[0];
	for (int i = 0; i < 6; i++)
		all->gpr[3 + i] = call->arguments[i];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	all->gpr[0] = (unsigned long)call->number;
	all->trap = 0; /* no call in progress that the kernel could restart */
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->nip -= SYSCALL_BYTES;
	prepare_call(all, call);
}

/* The kernel itself makes an errno of a negative result. */
static inline void skip_call(registers *all, int error)
{
	all->gpr[0] = (unsigned long)NO_CALL;
	all->gpr[3] = (unsigned long)-error;
}
#elif defined __loongarch64
#include <asm/ptrace.h>

#define AUDIT_ARCH_HERE AUDIT_ARCH_LOONGARCH64
#define SYSCALL_AND_TRAP 0x002a0005002b0000ULL /* syscall 0; break 5 */
typedef struct user_pt_regs registers;

static inline int get_registers(pid_t tid, registers *all)
{
	return transfer_registers(PTRACE_GETREGSET, tid, NT_PRSTATUS, all, sizeof *all);
}
static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	return transfer_registers(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy, sizeof copy);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->csr_era;
}
static inline int64_t call_result(const registers *all)
{
	return (int64_t)all->regs[4];
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->regs[4] = (uint64_t)value;
}

static inline struct call current_call(const registers *all)
{
	const unsigned long *regs = all->regs;
	return (struct call){
		(long)regs[11], {all->orig_a0, regs[5], regs[6], regs[7], regs[8], regs[9]}};
}

/* The first argument shares its register with the result: set the result last. */
static inline void set_call_arguments(registers *all, const struct call *call)
{
	all->orig_a0 = call->arguments[0];
	for (int i = 0; i < 6; i++)
		all->regs[4 + i] = call->arguments[i];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	all->regs[11] = (uint64_t)call->number;
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->csr_era -= SYSCALL_BYTES;
	prepare_call(all, call);
}

static inline void skip_call(registers *all, int error)
{
	all->regs[11] = (uint64_t)NO_CALL;
	set_call_result(all, -error);
}
#elif defined __mips64 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define AUDIT_ARCH_HERE AUDIT_ARCH_MIPSEL64
#define SYSCALL_AND_TRAP 0x0000000d0000000cULL /* syscall; break */
typedef struct {
	uint64_t own[45]; /* elf_gregset_t: 32 registers, lo, hi, the program counter */
} registers;
enum { NUMBER = 2, RESULT = 2, FIRST_ARGUMENT = 4, FAILED = 7, PROGRAM_COUNTER = 34 };

static inline int get_registers(pid_t tid, registers *all)
{
	return transfer_registers(PTRACE_GETREGSET, tid, NT_PRSTATUS, all, sizeof *all);
}
static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	return transfer_registers(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy, sizeof copy);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->own[PROGRAM_COUNTER];
}
static inline int64_t call_result(const registers *all)
{
	int64_t value = (int64_t)all->own[RESULT];
	return all->own[FAILED] ? -value : value;
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->own[FAILED] = value < 0 && value >= -4095;
	all->own[RESULT] = (uint64_t)(all->own[FAILED] ? -value : value);
}

static inline struct call current_call(const registers *all)
{
	struct call call = {(long)all->own[NUMBER], {0}};
	for (int i = 0; i < 6; i++)
		call.arguments[i] = all->own[FIRST_ARGUMENT + i];
	return call;
}

/* The fourth argument shares its register with the mark of an error: set the result last. */
static inline void set_call_arguments(registers *all, const struct call *call)
{
	for (int i = 0; i < 6; i++)
		all->own[FIRST_ARGUMENT + i] = call->arguments[i];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	all->own[NUMBER] = (uint64_t)call->number;
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->own[PROGRAM_COUNTER] -= SYSCALL_BYTES;
	prepare_call(all, call);
}

/* The number shares its register with the result, which is set at the exit of the call. */
static inline void skip_call(registers *all, int error)
{
	(void)error;
	all->own[NUMBER] = (uint64_t)NO_CALL;
}
#elif defined __arm__
#define AUDIT_ARCH_HERE AUDIT_ARCH_ARM
#define SYSCALL_AND_TRAP_MASK UINT64_MAX
#define SET_SYSCALL 23 /* PTRACE_SET_SYSCALL: arch/arm/include/uapi/asm/ptrace.h */
#define THUMB 0x20     /* a bit of the status register: instructions of 2 bytes */
/* The number of the current call is set apart from the registers; NO_CHANGE: it stays. */
typedef struct {
	struct user_regs own;
	long number;
} registers;
enum { FIRST_RESULT = 0, NUMBER = 7, PROGRAM_COUNTER = 15, STATUS = 16, FIRST_ARGUMENT = 17 };
#define NO_CHANGE (-2)

static inline int get_registers(pid_t tid, registers *all)
{
	all->number = NO_CHANGE;
	return (int)ptrace(PTRACE_GETREGS, tid, 0, &all->own);
}
static inline int set_registers(pid_t tid, const registers *all)
{
	if (all->number != NO_CHANGE && ptrace(SET_SYSCALL, tid, 0, all->number) < 0)
		return -1;
	return (int)ptrace(PTRACE_SETREGS, tid, 0, &all->own);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->own.uregs[PROGRAM_COUNTER];
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->own.uregs[FIRST_RESULT] = (unsigned long)value;
}

static inline int64_t call_result(const registers *all)
{
	return compat_result((uint32_t)all->own.uregs[FIRST_RESULT]);
}

static inline struct call current_call(const registers *all)
{
	const unsigned long *regs = all->own.uregs;
	return (struct call){(long)regs[NUMBER],
		{regs[FIRST_ARGUMENT], regs[1], regs[2], regs[3], regs[4], regs[5]}};
}

/* The first argument shares its register with the result: set the result last. */
static inline void set_call_arguments(registers *all, const struct call *call)
{
	all->own.uregs[FIRST_ARGUMENT] = (unsigned long)call->arguments[0];
	for (int i = 0; i < 6; i++)
		all->own.uregs[i] = (unsigned long)call->arguments[i];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	all->own.uregs[NUMBER] = (unsigned long)call->number;
	set_call_arguments(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->own.uregs[PROGRAM_COUNTER] -= all->own.uregs[STATUS] & THUMB ? 2 : 4;
	prepare_call(all, call);
}

static inline void skip_call(registers *all, int error)
{
	all->number = NO_CALL;
	set_call_result(all, -error);
}

static inline uint64_t syscall_and_trap(const registers *all)
{
	return arm_syscall_and_trap(all->own.uregs[STATUS] & THUMB);
}
#elif defined __s390x__
#include <asm/ptrace.h>

#define AUDIT_ARCH_HERE AUDIT_ARCH_S390X
#define SYSCALL_AND_TRAP 0x0a00000100000000ULL /* svc 0; the break point of the kernel */
#define SYSCALL_AND_TRAP_MASK 0xffffffff00000000ULL
#define SYSCALL_BYTES 2
#define SKIPPED_NUMBER 0xffff /* no call has this number: the kernel returns ENOSYS */
#define BELOW_STACK 512       /* bytes; the block of a call that we make is there */
/* At the entry of a call its number is in the register of the first argument, which is kept apart.
 * mmap(2) has one argument: the address of a block with its six. */
typedef struct {
	s390_regs own;
	uint64_t block[6], place; /* where it is in the memory of the program */
	bool block_changed;
} registers;
enum { NUMBER = 1, RESULT = 2, SECOND_ARGUMENT = 3, STACK = 15 };

static inline int get_registers(pid_t tid, registers *all)
{
	all->block_changed = false;
	if (transfer_registers(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all->own, sizeof all->own) < 0)
		return -1;
	all->place = all->own.orig_gpr2;
	for (size_t i = 0; i < 6 && all->own.gprs[RESULT] == SYS_mmap; i++) {
		void *at = (void *)(uintptr_t)(all->place + 8 * i);
		all->block[i] = (uint64_t)ptrace(PTRACE_PEEKDATA, tid, at, 0);
	}
	return 0;
}

static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	for (size_t i = 0; i < 6 && all->block_changed; i++) {
		void *at = (void *)(uintptr_t)(all->place + 8 * i);
		if (ptrace(PTRACE_POKEDATA, tid, at, (void *)all->block[i]) < 0)
			return -1;
	}
	return transfer_registers(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy.own, sizeof copy.own);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->own.psw.addr;
}
static inline int64_t call_result(const registers *all)
{
	return (int64_t)all->own.gprs[RESULT];
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->own.gprs[RESULT] = (uint64_t)value;
}

static inline struct call current_call(const registers *all)
{
	struct call call = {(long)all->own.gprs[RESULT], {all->own.orig_gpr2}};
	for (int i = 1; i < 6; i++)
		call.arguments[i] = all->own.gprs[SECOND_ARGUMENT + i - 1];
	for (int i = 0; i < 6 && call.number == SYS_mmap; i++)
		call.arguments[i] = all->block[i];
	return call;
}

static inline void set_call_arguments(registers *all, const struct call *call)
{
	if (call->number == SYS_mmap) {
		for (int i = 0; i < 6; i++)
			all->block[i] = call->arguments[i];
		all->block_changed = true;
		return;
	}
	all->own.orig_gpr2 = call->arguments[0];
	for (int i = 1; i < 6; i++)
		all->own.gprs[SECOND_ARGUMENT + i - 1] = call->arguments[i];
}

static inline void make_call(registers *all, const struct call *call)
{
	all->own.gprs[NUMBER] = (uint64_t)call->number;
	set_call_arguments(all, call);
	all->own.gprs[RESULT] = all->block_changed ? all->place : call->arguments[0];
}

static inline void prepare_call(registers *all, const struct call *call)
{
	all->place = (all->own.gprs[STACK] - BELOW_STACK) & ~7ULL;
	make_call(all, call);
}

static inline void repeat_call(registers *all, const struct call *call)
{
	all->own.psw.addr -= SYSCALL_BYTES;
	make_call(all, call);
}

/* The result is set at the exit of the call. */
static inline void skip_call(registers *all, int error)
{
	(void)error;
	all->own.gprs[RESULT] = SKIPPED_NUMBER;
}
#elif !defined __x86_64__ && !defined __i386__
#define AUDIT_ARCH_HERE 0
#define SYSCALL_AND_TRAP 0ULL
#define SYSCALL_AND_TRAP_MASK 0ULL
typedef struct {
	uint64_t none;
} registers;

static inline int get_registers(pid_t tid, registers *all)
{
	(void)tid, (void)all;
	errno = ENOSYS;
	return -1;
}
static inline int set_registers(pid_t tid, const registers *all)
{
	return get_registers(tid, (registers *)all);
}
static inline uint64_t program_counter(const registers *all)
{
	return all->none;
}
static inline int64_t call_result(const registers *all)
{
	return (int64_t)all->none;
}
static inline void set_call_result(registers *all, int64_t value)
{
	all->none = (uint64_t)value;
}
static inline struct call current_call(const registers *all)
{
	return (struct call){NO_CALL, {all->none}};
}
static inline void set_call_arguments(registers *all, const struct call *call)
{
	all->none = call->arguments[0];
}
static inline void prepare_call(registers *all, const struct call *call)
{
	set_call_arguments(all, call);
}
static inline void repeat_call(registers *all, const struct call *call)
{
	set_call_arguments(all, call);
}
static inline void skip_call(registers *all, int error)
{
	set_call_result(all, -error);
}
#endif

#if !defined __arm__ && !defined __aarch64__
/* Code that makes a call and stops after it. Its bits in the first 8 bytes of the memory are
 * SYSCALL_AND_TRAP_MASK. */
static inline uint64_t syscall_and_trap(const registers *all)
{
#ifdef __x86_64__
	if (is_compat(all))
		return COMPAT_SYSCALL_AND_TRAP;
#endif
	(void)all;
	return SYSCALL_AND_TRAP;
}
#endif

#ifndef AUDIT_ARCH_COMPAT
static inline bool is_compat(const registers *all)
{
	(void)all;
	return false;
}
#endif

/* Whether the arguments of a call can be read only at its entry. Calls that make threads must be
 * stopped there, so that their flags are known afterwards. */
#if defined __riscv || defined __s390x__
#define ARGUMENTS_HIDDEN_AFTER_ENTRY 1
#else
#define ARGUMENTS_HIDDEN_AFTER_ENTRY 0
#endif

#endif
