/* Faults: what a kernel might do to a program, brought about by tracing it.
 *
 *   --occupy START-END        mapped (PROT_NONE) before the first instruction after every exec
 *   --ignore-hints START-END  an address in that range counts as none, unless MAP_FIXED insists
 *   --fail KIND:N:ERRNO       the n-th call of a kind fails, of all threads and children together
 *
 * A seccomp filter stops the subject at the calls that are asked about and at no other, so that
 * all else costs nothing. Threads and children are followed; all of them die with us. What depends
 * on the machine is behind four small functions at the top; for machines that are not there, see
 * unbent.c. */
#ifdef __x86_64__
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* ---- the machine: registers at a system call, and a call put into a stopped program ---- */

struct call { long number; uint64_t arguments[6]; };

#ifdef __x86_64__
#define MACHINE AUDIT_ARCH_X86_64
#define CALL_AND_TRAP 0xcc050fULL /* syscall; int3 */
#define CALL_AND_TRAP_MASK 0xffffffULL
typedef struct user_regs_struct registers;

static int get_registers(pid_t tid, registers *all) { return (int)ptrace(PTRACE_GETREGS, tid, 0, all); }
static int set_registers(pid_t tid, const registers *all) { return (int)ptrace(PTRACE_SETREGS, tid, 0, all); }
static uint64_t instruction(const registers *all) { return all->rip; }
static int64_t result(const registers *all) { return (int64_t)all->rax; }

static struct call asked(const registers *all)
{
	return (struct call) { (long)all->orig_rax, { all->rdi, all->rsi, all->rdx, all->r10, all->r8, all->r9 } };
}

/* The call that `all` is about to make, from where it stands. */
static void ask(registers *all, const struct call *call)
{
	all->rax = (uint64_t)call->number;
	all->orig_rax = (uint64_t)-1; /* no call is under way that could be restarted */
	all->rdi = call->arguments[0], all->rsi = call->arguments[1], all->rdx = call->arguments[2];
	all->r10 = call->arguments[3], all->r8 = call->arguments[4], all->r9 = call->arguments[5];
}

static void change_address(registers *all, uint64_t address) { all->rdi = address; }

/* The kernel makes no call of the number -1, and leaves the result as it finds it. */
static void refuse(registers *all, int error)
{
	all->orig_rax = (uint64_t)-1;
	all->rax = (uint64_t)-error;
}
#else
#error "bend.c knows the registers of x86-64 alone: add yours above"
#endif

/* ---- what is asked for ---- */

static const struct { const char *name; long numbers[2]; } kinds[] = {
	{ "mmap", { SYS_mmap, -1 } },         { "hinted", { SYS_mmap, -1 } },     { "munmap", { SYS_munmap, -1 } },
	{ "mprotect", { SYS_mprotect, -1 } }, { "mremap", { SYS_mremap, -1 } },   { "madvise", { SYS_madvise, -1 } },
	{ "mincore", { SYS_mincore, -1 } },   { "getrlimit", { SYS_prlimit64, SYS_getrlimit } },
};
#define KINDS (sizeof kinds / sizeof *kinds)

static int range(const char *text, struct range *out)
{
	char low[32], *dash = strchr(text, '-');
	if (!dash || (size_t)(dash - text) >= sizeof low)
		return 0;
	snprintf(low, sizeof low, "%.*s", (int)(dash - text), text);
	out->start = number(low), out->end = number(dash + 1);
	return out->start < out->end;
}

static int failure(const char *text, struct failure *out)
{
	char name[16] = "";
	if (sscanf(text, "%15[a-z]:%u:%d", name, &out->nth, &out->error) != 3)
		return 0;
	for (out->kind = 0; out->kind < (int)KINDS && strcmp(kinds[out->kind].name, name); out->kind++)
		;
	return out->kind < (int)KINDS && out->nth > 0 && out->error > 0;
}

/* Take one option at argv[at] if it is one of ours; answer how many words were taken. */
int bend_option(struct bend *bend, int argc, char **argv, int at)
{
	int taken;
	if (at + 1 >= argc)
		return 0;
	if (!strcmp(argv[at], "--occupy"))
		taken = bend->occupied < MOST_FAULTS && range(argv[at + 1], &bend->occupy[bend->occupied++]);
	else if (!strcmp(argv[at], "--ignore-hints"))
		taken = range(argv[at + 1], &bend->ignore);
	else if (!strcmp(argv[at], "--fail"))
		taken = bend->failures < MOST_FAULTS && failure(argv[at + 1], &bend->fail[bend->failures++]);
	else
		return 0;
	errno = EINVAL;
	if (!taken)
		fail("this is no fault:", argv[at + 1]);
	return 2;
}

static int wanted(const struct bend *bend)
{
	return bend->occupied || bend->failures || bend->ignore.end;
}

/* ---- in the child ---- */

static void filter(const struct bend *bend)
{
	struct sock_filter code[8 + 2 * MOST_FAULTS];
	long numbers[2 * MOST_FAULTS + 1];
	unsigned short count = 0, at = 0;
	if (bend->ignore.end)
		numbers[count++] = SYS_mmap;
	for (int i = 0; i < bend->failures; i++)
		for (int j = 0; j < 2; j++)
			if (kinds[bend->fail[i].kind].numbers[j] >= 0)
				numbers[count++] = kinds[bend->fail[i].kind].numbers[j];
	if (!count)
		return;
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, MACHINE, 1, 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW); /* another machine's calls */
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned short i = 0; i < count; i++) /* each jumps over those that follow, and the ALLOW */
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, (unsigned)numbers[i], (unsigned char)(count - i), 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_TRACE);
	struct sock_fprog program = { at, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		fail("cannot stop at system calls", NULL);
}

/* Wait until we are traced, then have the calls stop. Nothing but exec may come after this. */
void bend_child(const struct bend *bend)
{
	if (!wanted(bend))
		return;
	raise(SIGSTOP);
	filter(bend);
}

/* ---- in the supervisor ---- */

/* Wait for this thread's next stop; 0 if it ends instead, whose status is left for the reaper. */
static int next_stop(pid_t tid, int *status)
{
	siginfo_t info;
	while (waitid(P_PID, (id_t)tid, &info, WSTOPPED | WEXITED | WNOWAIT | __WALL) < 0)
		if (errno != EINTR)
			return 0;
	if (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
		return 0;
	return waitpid(tid, status, __WALL) == tid && WIFSTOPPED(*status);
}

/* Let a stopped program make this call, and stop it again after it. The program's own text has the
 * two instructions in it for the moment. `later` collects a signal that came in between. */
static int64_t make_call(pid_t tid, registers *at, const struct call *call, int *later)
{
	registers now = *at;
	int status = 0;
	ask(&now, call);
	if (set_registers(tid, &now) < 0)
		return -EIO;
	for (;;) {
		ptrace(PTRACE_CONT, tid, 0, 0);
		if (!next_stop(tid, &status))
			return -ESRCH;
		if (status >> 16) /* our own call stops at the filter as well */
			continue;
		if (WSTOPSIG(status) == SIGTRAP)
			break;
		*later = WSTOPSIG(status);
	}
	return get_registers(tid, &now) < 0 ? -EIO : result(&now);
}

/* After an exec: take the ranges, as if they had been there before the program. */
static void occupy(struct bend *bend, pid_t tid)
{
	registers saved;
	int status, later = 0;
	/* to the end of the execve call itself: until then its result would overwrite a register */
	if (ptrace(PTRACE_SYSCALL, tid, 0, 0) < 0 || !next_stop(tid, &status) || get_registers(tid, &saved) < 0)
		return;
	void *place = (void *)instruction(&saved);
	errno = 0;
	long text = ptrace(PTRACE_PEEKTEXT, tid, place, 0);
	if (errno || ptrace(PTRACE_POKETEXT, tid, place, ((uint64_t)text & ~CALL_AND_TRAP_MASK) | CALL_AND_TRAP) < 0)
		snprintf(bend->complaint, sizeof bend->complaint, "cannot prepare its memory: %s", strerror(errno));
	for (int i = 0; i < bend->occupied && !*bend->complaint; i++) {
		const struct range *range = &bend->occupy[i];
		struct call map = { SYS_mmap, { range->start, range->end - range->start, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0 } };
		int64_t got = make_call(tid, &saved, &map, &later);
		if (got == -ESRCH)
			return;
		if (got != (int64_t)range->start)
			snprintf(bend->complaint, sizeof bend->complaint, "cannot occupy %#llx-%#llx: %s",
			         (unsigned long long)range->start, (unsigned long long)range->end,
			         got < 0 ? strerror((int)-got) : "the kernel knows no MAP_FIXED_NOREPLACE");
	}
	ptrace(PTRACE_POKETEXT, tid, place, text);
	set_registers(tid, &saved);
	if (*bend->complaint)
		kill(tid, SIGKILL);
	if (later)
		kill(tid, later);
}

static int is_hint(const struct call *call)
{
	int insists = (call->arguments[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
	return call->number == SYS_mmap && call->arguments[0] && !insists;
}

static int is_kind(int kind, const struct call *call)
{
	int right = call->number == kinds[kind].numbers[0] || call->number == kinds[kind].numbers[1];
	if (strcmp(kinds[kind].name, "hinted"))
		return right;
	return is_hint(call) && (call->arguments[3] & MAP_ANONYMOUS);
}

/* A call that the filter has stopped: bend it, or let it be. */
static void bend_call(struct bend *bend, pid_t tid)
{
	registers now;
	int changed = 0;
	if (get_registers(tid, &now) < 0)
		return;
	struct call call = asked(&now);
	if (is_hint(&call) && call.arguments[0] >= bend->ignore.start && call.arguments[0] < bend->ignore.end) {
		change_address(&now, 0);
		changed = 1;
	}
	for (int i = 0; i < bend->failures; i++)
		if (is_kind(bend->fail[i].kind, &call) && ++bend->fail[i].seen == bend->fail[i].nth) {
			refuse(&now, bend->fail[i].error);
			changed = 1;
		}
	if (changed)
		set_registers(tid, &now);
}

/* Was that the stop of a thread that we trace? Then deal with it, and let the thread go on. */
int bend_stop(struct bend *bend, pid_t tid, int status)
{
	if (!wanted(bend) || !WIFSTOPPED(status))
		return 0;
	int signal = WSTOPSIG(status), event = status >> 16;
	if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
		ptrace(PTRACE_LISTEN, tid, 0, 0); /* stopped by job control, and it stays so */
		return 1;
	}
	if (event == PTRACE_EVENT_SECCOMP)
		bend_call(bend, tid);
	if (event == PTRACE_EVENT_EXEC && bend->occupied)
		occupy(bend, tid);
	ptrace(PTRACE_CONT, tid, 0, event || signal == (SIGTRAP | 0x80) ? 0 : signal);
	return 1;
}

/* Trace the child, from before its exec to behind it. It may die on the way: the reaper sees it. */
void bend_start(struct bend *bend, pid_t pid)
{
	int status;
	long follow = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
	              PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
	if (!wanted(bend) || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		return;
	if (ptrace(PTRACE_SEIZE, pid, 0, follow) < 0) {
		snprintf(bend->complaint, sizeof bend->complaint, "cannot be traced: %s", strerror(errno));
		kill(pid, SIGKILL);
		return;
	}
	kill(pid, SIGCONT);
	while (next_stop(pid, &status)) {
		bend_stop(bend, pid, status);
		if (status >> 16 == PTRACE_EVENT_EXEC)
			return;
	}
}
#endif
