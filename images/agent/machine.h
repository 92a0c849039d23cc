/* The machine: its registers at a system call. All that faults have to know of it is here, and a
 * machine that is not here has no faults: the harness asks for none there (guests/narrowing.py). */
#ifndef FOOTHOLD_MACHINE_H
#define FOOTHOLD_MACHINE_H

#include <errno.h>
#include <linux/audit.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

#define NO_CALL (-1) /* the kernel makes no call of this number, and leaves the result as it is */

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
#else
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

#endif
