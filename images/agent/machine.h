/* The machine: its registers at a system call. All that faults have to know of it is here, and a
 * machine that is not here has no faults: the harness asks for none there (guests/narrowing.py). */
#ifndef FOOTHOLD_MACHINE_H
#define FOOTHOLD_MACHINE_H

#include <errno.h>
#include <linux/audit.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>

#define NO_CALL (-1) /* the kernel makes no call of this number, and leaves the result as it is */

/* Calls that not every machine has, or not by that name. */
#ifdef __i386__
#undef SYS_mmap
#define SYS_mmap SYS_mmap2
#define NAME_OF_MMAP "mmap2"
#else
#define NAME_OF_MMAP "mmap"
#endif
#ifndef SYS_shmat
#define SYS_shmat NO_CALL
#endif
#ifndef SYS_getrlimit
#define SYS_getrlimit NO_CALL
#endif
#ifndef SYS_setrlimit
#define SYS_setrlimit NO_CALL
#endif

struct call {
	long number;
	uint64_t arguments[6];
};

#ifdef __x86_64__
#define MACHINE AUDIT_ARCH_X86_64
#define CALL_AND_TRAP 0xcc050fULL /* syscall; int3 */
#define CALL_AND_TRAP_MASK 0xffffffULL
#define CALL_BYTES 2
typedef struct user_regs_struct registers;

static inline int get_registers(pid_t tid, registers *all) { return (int)ptrace(PTRACE_GETREGS, tid, 0, all); }
static inline int set_registers(pid_t tid, const registers *all) { return (int)ptrace(PTRACE_SETREGS, tid, 0, all); }
static inline uint64_t instruction(const registers *all) { return all->rip; }
static inline int64_t result(const registers *all) { return (int64_t)all->rax; }
static inline void set_result(registers *all, int64_t value) { all->rax = (uint64_t)value; }

static inline struct call asked(const registers *all)
{
	return (struct call) { (long)all->orig_rax, { all->rdi, all->rsi, all->rdx, all->r10, all->r8, all->r9 } };
}

static inline void set_arguments(registers *all, const struct call *call)
{
	all->rdi = call->arguments[0], all->rsi = call->arguments[1], all->rdx = call->arguments[2];
	all->r10 = call->arguments[3], all->r8 = call->arguments[4], all->r9 = call->arguments[5];
}

/* The call that is about to be made, from where the program stands. */
static inline void ask(registers *all, const struct call *call)
{
	all->rax = (uint64_t)call->number;
	all->orig_rax = (uint64_t)NO_CALL; /* no call is under way that could be restarted */
	set_arguments(all, call);
}

/* The same call once more, from behind it. */
static inline void ask_again(registers *all, const struct call *call)
{
	all->rip -= CALL_BYTES;
	ask(all, call);
}

/* Before a call: let it fail instead. */
static inline void refuse(registers *all, int error)
{
	all->orig_rax = (uint64_t)NO_CALL;
	set_result(all, -error);
}
#elif defined __i386__
#define MACHINE AUDIT_ARCH_I386
#define CALL_AND_TRAP 0xcc80cdULL /* int 0x80; int3 */
#define CALL_AND_TRAP_MASK 0xffffffULL
#define CALL_BYTES 2
typedef struct user_regs_struct registers;

static inline int get_registers(pid_t tid, registers *all) { return (int)ptrace(PTRACE_GETREGS, tid, 0, all); }
static inline int set_registers(pid_t tid, const registers *all) { return (int)ptrace(PTRACE_SETREGS, tid, 0, all); }
static inline uint64_t instruction(const registers *all) { return (uint32_t)all->eip; }
static inline void set_result(registers *all, int64_t value) { all->eax = (long)value; }

/* An address may look negative. */
static inline int64_t result(const registers *all)
{
	return all->eax < 0 && all->eax > -4096 ? all->eax : (int64_t)(uint32_t)all->eax;
}

static inline struct call asked(const registers *all)
{
	return (struct call) { all->orig_eax, { (uint32_t)all->ebx, (uint32_t)all->ecx, (uint32_t)all->edx,
	                                        (uint32_t)all->esi, (uint32_t)all->edi, (uint32_t)all->ebp } };
}

static inline void set_arguments(registers *all, const struct call *call)
{
	all->ebx = (long)call->arguments[0], all->ecx = (long)call->arguments[1], all->edx = (long)call->arguments[2];
	all->esi = (long)call->arguments[3], all->edi = (long)call->arguments[4], all->ebp = (long)call->arguments[5];
}

static inline void ask(registers *all, const struct call *call)
{
	all->eax = call->number;
	all->orig_eax = NO_CALL;
	set_arguments(all, call);
}

static inline void ask_again(registers *all, const struct call *call)
{
	all->eip -= CALL_BYTES;
	ask(all, call);
}

static inline void refuse(registers *all, int error)
{
	all->orig_eax = NO_CALL;
	set_result(all, -error);
}
#elif defined __aarch64__ || defined __riscv
#include <elf.h>
#include <sys/uio.h>

static inline int register_set(int request, pid_t tid, int which, void *set, size_t size)
{
	struct iovec all = { set, size };
	return (int)ptrace(request, tid, (void *)(uintptr_t)which, &all);
}
#define CALL_AND_TRAP_MASK UINT64_MAX
#define CALL_BYTES 4
#endif

#ifdef __aarch64__
#define MACHINE AUDIT_ARCH_AARCH64
#define CALL_AND_TRAP 0xd4200000d4000001ULL /* svc #0; brk #0 */
/* The number of the call that is under way is a set of its own, NO_CALL outside of one. */
typedef struct { struct user_regs_struct own; int number; } registers;

static inline int get_registers(pid_t tid, registers *all)
{
	return register_set(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all->own, sizeof all->own) |
	       register_set(PTRACE_GETREGSET, tid, NT_ARM_SYSTEM_CALL, &all->number, sizeof all->number);
}

static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	return register_set(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy.own, sizeof copy.own) |
	       register_set(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &copy.number, sizeof copy.number);
}
static inline uint64_t instruction(const registers *all) { return all->own.pc; }
static inline int64_t result(const registers *all) { return (int64_t)all->own.regs[0]; }
static inline void set_result(registers *all, int64_t value) { all->own.regs[0] = (uint64_t)value; }

static inline struct call asked(const registers *all)
{
	struct call call = { all->number, { 0 } };
	for (int i = 0; i < 6; i++)
		call.arguments[i] = all->own.regs[i];
	return call;
}

/* The first of them is where the result will be: it is set after them. */
static inline void set_arguments(registers *all, const struct call *call)
{
	for (int i = 0; i < 6; i++)
		all->own.regs[i] = call->arguments[i];
}

static inline void ask(registers *all, const struct call *call)
{
	all->own.regs[8] = (uint64_t)call->number;
	all->number = NO_CALL;
	set_arguments(all, call);
}

static inline void ask_again(registers *all, const struct call *call)
{
	all->own.pc -= CALL_BYTES;
	ask(all, call);
}

static inline void refuse(registers *all, int error)
{
	all->number = NO_CALL;
	set_result(all, -error);
}
#elif defined __riscv
#include <asm/ptrace.h>

#define MACHINE AUDIT_ARCH_RISCV64
#define CALL_AND_TRAP 0x0010007300000073ULL /* ecall; ebreak */
#define GET_CALL 0x420e /* PTRACE_GET_SYSCALL_INFO, PTRACE_SET_SYSCALL_INFO: Linux 6.16 */
#define SET_CALL 0x4212
#define AT_FILTER 3 /* PTRACE_SYSCALL_INFO_SECCOMP */
/* A call's first argument is kept where registers do not show it: before a call it has to be asked
 * for, and is changed, as linux/ptrace.h says. */
struct call_info {
	uint8_t op, reserved;
	uint16_t flags;
	uint32_t machine;
	uint64_t instruction, stack, number, arguments[6], data;
};
typedef struct { struct user_regs_struct own; struct call_info info; } registers;

static inline int get_registers(pid_t tid, registers *all)
{
	all->info = (struct call_info) { .op = 0 };
	if (ptrace(GET_CALL, tid, (void *)sizeof all->info, &all->info) < 0)
		return -1;
	return register_set(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all->own, sizeof all->own);
}

static inline int set_registers(pid_t tid, const registers *all)
{
	registers copy = *all;
	copy.info.reserved = 0, copy.info.flags = 0, copy.info.data = 0;
	if (register_set(PTRACE_SETREGSET, tid, NT_PRSTATUS, &copy.own, sizeof copy.own) < 0)
		return -1;
	return all->info.op == AT_FILTER ? (int)ptrace(SET_CALL, tid, (void *)sizeof copy.info, &copy.info) : 0;
}
static inline uint64_t instruction(const registers *all) { return all->own.pc; }
static inline int64_t result(const registers *all) { return (int64_t)all->own.a0; }
static inline void set_result(registers *all, int64_t value) { all->own.a0 = (uint64_t)value; }

static inline struct call asked(const registers *all)
{
	const struct user_regs_struct *own = &all->own;
	struct call call = { (long)own->a7, { own->a0, own->a1, own->a2, own->a3, own->a4, own->a5 } };
	if (all->info.op == AT_FILTER) {
		call.number = (long)all->info.number;
		for (int i = 0; i < 6; i++)
			call.arguments[i] = all->info.arguments[i];
	}
	return call;
}

/* The first of them is where the result will be: it is set after them. */
static inline void set_arguments(registers *all, const struct call *call)
{
	const uint64_t *from = call->arguments;
	all->own.a7 = (unsigned long)call->number;
	all->own.a0 = from[0], all->own.a1 = from[1], all->own.a2 = from[2];
	all->own.a3 = from[3], all->own.a4 = from[4], all->own.a5 = from[5];
	all->info.number = (uint64_t)call->number;
	for (int i = 0; i < 6; i++)
		all->info.arguments[i] = from[i];
}

static inline void ask(registers *all, const struct call *call) { set_arguments(all, call); }

static inline void ask_again(registers *all, const struct call *call)
{
	all->own.pc -= CALL_BYTES;
	ask(all, call);
}

static inline void refuse(registers *all, int error)
{
	all->info.number = (uint64_t)NO_CALL;
	set_result(all, -error);
}
#elif !defined __x86_64__ && !defined __i386__
#define MACHINE 0
#define CALL_AND_TRAP 0ULL
#define CALL_AND_TRAP_MASK 0ULL
typedef struct { uint64_t none; } registers;

static inline int get_registers(pid_t tid, registers *all)
{
	(void)tid, (void)all;
	errno = ENOSYS;
	return -1;
}
static inline int set_registers(pid_t tid, const registers *all) { return get_registers(tid, (registers *)all); }
static inline uint64_t instruction(const registers *all) { return all->none; }
static inline int64_t result(const registers *all) { return (int64_t)all->none; }
static inline void set_result(registers *all, int64_t value) { all->none = (uint64_t)value; }
static inline struct call asked(const registers *all) { return (struct call) { NO_CALL, { all->none } }; }
static inline void set_arguments(registers *all, const struct call *call) { all->none = call->arguments[0]; }
static inline void ask(registers *all, const struct call *call) { set_arguments(all, call); }
static inline void ask_again(registers *all, const struct call *call) { set_arguments(all, call); }
static inline void refuse(registers *all, int error) { set_result(all, -error); }
#endif

/* Behind a call's entry its arguments can no longer be read: who makes what is noted there. */
#ifdef __riscv
#define ARGUMENTS_GO 1
#else
#define ARGUMENTS_GO 0
#endif

#endif
