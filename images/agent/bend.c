/* Faults, as they are brought about: by tracing a program, and changing what it asks the kernel.
 *
 * Threads and children are followed; all of them die with us. What is asked for is in faults.c, how
 * an address space ends early in ceiling.c, what is written down of it all in told.c, and what
 * depends on the machine in machine.h. */
#define _GNU_SOURCE
#include "bend.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct thread *threads;

/* Wait until we are traced, then have the calls stop. Nothing but exec may come after this. */
void bend_child(const struct bend *bend)
{
	if (!bend_wanted(bend))
		return;
	raise(SIGSTOP);
	faults_filter(bend);
}

/* ---- who is traced ---- */

static struct thread *find(pid_t tid)
{
	struct thread *one = threads;
	while (one && one->tid != tid)
		one = one->next;
	return one;
}

static struct thread *remember(pid_t tid, struct space *space)
{
	struct thread *one = calloc(1, sizeof *one);
	one->tid = tid;
	one->space = space;
	one->asked.number = NO_CALL;
	one->next = threads;
	return threads = one;
}

static void forget(struct thread *one)
{
	struct thread **at = &threads;
	if (!one)
		return;
	while (*at != one)
		at = &(*at)->next;
	*at = one->next;
	space_leave(one->space);
	free(one);
}

/* The flags with which clone or clone3 is called; those of fork and vfork. */
uint64_t thread_flags(pid_t tid, const struct call *call)
{
	if (call->number == SYS_clone)
		return call->arguments[0];
	if (call->number == SYS_clone3)
		return (uint64_t)ptrace(PTRACE_PEEKDATA, tid, (void *)(uintptr_t)call->arguments[0], 0);
#ifdef SYS_vfork
	if (call->number == SYS_vfork)
		return CLONE_VM | CLONE_VFORK;
#endif
	return 0;
}

/* Let it go, and stop behind the call that it is about to make, if there is one. */
static void go(pid_t tid, int behind, int signal)
{
	ptrace(behind ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, signal);
}

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

/* ---- a program begins ---- */

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
		go(tid, 0, 0);
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

/* Take the ranges, as if they had been there before the program. 0 if it ended meanwhile. */
static int occupy(struct bend *bend, struct thread *thread)
{
	pid_t tid = thread->tid;
	registers saved;
	int status, later = 0;
	/* to the end of the execve call itself: until then its result would overwrite a register */
	go(tid, 1, 0);
	if (!next_stop(tid, &status) || get_registers(tid, &saved) < 0)
		return 0;
	void *place = (void *)(uintptr_t)instruction(&saved);
	errno = 0;
	long text = ptrace(PTRACE_PEEKTEXT, tid, place, 0);
	long words = (long)(((uint64_t)text & ~CALL_AND_TRAP_MASK) | CALL_AND_TRAP);
	if (errno || ptrace(PTRACE_POKETEXT, tid, place, words) < 0)
		snprintf(bend->complaint, sizeof bend->complaint, "cannot prepare its memory: %s", strerror(errno));
	for (int i = 0; i < bend->occupied && !*bend->complaint; i++) {
		const struct range *range = &bend->occupy[i];
		struct call map = { SYS_mmap, { range->start, range->end - range->start, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0 } };
		int64_t got = make_call(tid, &saved, &map, &later);
		if (got == -ESRCH)
			return 0;
		thread->asked = map;
		if (bend->told)
			told_call(thread, got, 1);
		if (got != (int64_t)range->start)
			snprintf(bend->complaint, sizeof bend->complaint, "cannot occupy %#llx-%#llx: %s",
			         (unsigned long long)range->start, (unsigned long long)range->end,
			         got < 0 ? strerror((int)-got) : "the kernel knows no MAP_FIXED_NOREPLACE");
	}
	ptrace(PTRACE_POKETEXT, tid, place, text);
	set_registers(tid, &saved);
	if (later)
		kill(tid, later);
	return 1;
}

/* An exec, by the thread that was `former`: a new program, in a space of its own. */
static void begun(struct bend *bend, struct thread *thread, pid_t former)
{
	pid_t tid = thread->tid;
	struct thread *caller = find(former);
	if (caller && caller != thread) { /* it takes the place of the first thread */
		forget(thread);
		caller->tid = tid;
		thread = caller;
	}
	if (bend->told && thread->asked.number != NO_CALL)
		told_call(thread, 0, 0);
	space_leave(thread->space);
	thread->space = space_new();
	if (bend->occupied && !occupy(bend, thread))
		return;
	thread->asked.number = NO_CALL;
	if (bend->ceiling && !*bend->complaint) {
		space_lay_out(thread->space, tid, bend->ceiling);
		if (!space_read(thread->space, tid))
			snprintf(bend->complaint, sizeof bend->complaint, "cannot read its maps: %s", strerror(errno));
	}
	if (*bend->complaint)
		kill(tid, SIGKILL);
	go(tid, 0, 0);
}

/* ---- its calls ---- */

/* Before a call that the filter has stopped: bend it, or let it be. */
static void enter(struct bend *bend, struct thread *thread)
{
	registers now;
	if (get_registers(thread->tid, &now) < 0)
		return;
	struct call call = asked(&now);
	if (!thread->again || memcmp(&call, &thread->made, sizeof call)) { /* a signal's handler may come between */
		thread->asked = thread->wanted = call;
		thread->error = fault(bend, &thread->wanted);
		thread->made = thread->wanted;
		if (bend->told)
			told_begin(thread);
		if (bend->last && call.number == SYS_exit_group)
			last_send(bend->leader, thread->tid);
		if (bend->ceiling && !thread->error)
			thread->error = ceiling_call(bend, thread);
		if (thread->error)
			refuse(&now, thread->error);
		else
			set_arguments(&now, &thread->made);
		if (thread->error || memcmp(&call, &thread->made, sizeof call))
			set_registers(thread->tid, &now);
	}
	thread->again = 0;
	int changed = memcmp(&call, &thread->made, sizeof call) != 0;
	go(thread->tid, changed || bend->told || bend->ceiling, 0);
}

/* After it: the registers are the program's again, and what came of it is written down. */
static void leave(struct bend *bend, struct thread *thread)
{
	registers now;
	if (get_registers(thread->tid, &now) < 0 || thread->asked.number == NO_CALL) {
		go(thread->tid, 0, 0);
		return;
	}
	int64_t got = result(&now), shown = thread->error ? -thread->error : got;
	if (bend->ceiling && !thread->error)
		shown = ceiling_result(bend, thread, got);
	thread->again = shown == ONCE_MORE;
	if (thread->again) {
		ask_again(&now, &thread->made);
		set_registers(thread->tid, &now);
	} else {
		if (thread->error || shown != got || memcmp(&thread->asked, &thread->made, sizeof thread->asked)) {
			set_arguments(&now, &thread->asked);
			set_result(&now, shown);
			set_registers(thread->tid, &now);
		}
		if (bend->told)
			told_call(thread, shown, thread->error != 0);
		thread->asked.number = NO_CALL;
	}
	go(thread->tid, 0, 0);
}

/* ---- its threads and children ---- */

/* `parent` has made one: now we know whose memory it has. */
static void born(const struct bend *bend, struct thread *parent)
{
	unsigned long tid = 0;
	registers now;
	if (ptrace(PTRACE_GETEVENTMSG, parent->tid, 0, &tid) == 0 && get_registers(parent->tid, &now) == 0) {
		struct call call = parent->asked.number == NO_CALL ? asked(&now) : parent->asked;
		int shares = (thread_flags(parent->tid, &call) & CLONE_VM) != 0;
		struct space *space = shares ? parent->space : space_copy(parent->space);
		struct thread *child = find((pid_t)tid);
		space->users += shares;
		if (child) {
			space_leave(child->space);
			child->space = space;
		} else
			child = remember((pid_t)tid, space);
		if (bend->told && parent->asked.number != NO_CALL)
			told_call(parent, (int64_t)tid, 0); /* before the child says anything */
		if (child->newborn)
			go(child->tid, 0, 0);
		child->newborn = 0;
	}
	parent->asked.number = NO_CALL;
	go(parent->tid, 0, 0);
}

static void ended(const struct bend *bend, struct thread *thread, int status)
{
	if (!thread)
		return;
	if (bend->told)
		told_end(thread->tid, status);
	forget(thread);
	for (struct thread *one = threads; one; one = one->next)
		if (one->newborn) { /* perhaps that was its parent, who cannot say any more */
			one->newborn = 0;
			go(one->tid, 0, 0);
		}
}

/* Was that the stop of a thread that we trace? Then deal with it, and let the thread go on. */
int bend_stop(struct bend *bend, pid_t tid, int status)
{
	struct thread *thread = find(tid);
	if (!bend_wanted(bend))
		return 0;
	if (!WIFSTOPPED(status)) {
		ended(bend, thread, status);
		return 0;
	}
	int signal = WSTOPSIG(status), event = status >> 16;
	unsigned long former = 0;
	if (!thread)
		remember(tid, space_new())->newborn = 1; /* and it waits for its parent's stop */
	else if (event == PTRACE_EVENT_SECCOMP)
		enter(bend, thread);
	else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK)
		born(bend, thread);
	else if (event == PTRACE_EVENT_EXEC) {
		ptrace(PTRACE_GETEVENTMSG, tid, 0, &former);
		begun(bend, thread, (pid_t)former);
	} else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP)
		ptrace(PTRACE_LISTEN, tid, 0, 0); /* stopped by job control, and it stays so */
	else if (event)
		go(tid, 0, 0);
	else if (signal == (SIGTRAP | 0x80))
		leave(bend, thread);
	else {
		if (bend->told)
			told_signal(tid);
		go(tid, 0, signal);
	}
	return 1;
}

/* Trace the child, from before its exec to behind it. It may die on the way: the reaper sees it. */
void bend_start(struct bend *bend, pid_t pid)
{
	int status;
	long follow = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
	              PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
	if (!bend_wanted(bend) || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		return;
	if (ptrace(PTRACE_SEIZE, pid, 0, follow) < 0) {
		snprintf(bend->complaint, sizeof bend->complaint, "cannot be traced: %s", strerror(errno));
		kill(pid, SIGKILL);
		return;
	}
	remember(pid, space_new());
	bend->leader = pid;
	if (bend->told)
		told_attached(pid);
	kill(pid, SIGCONT);
	while (next_stop(pid, &status)) {
		bend_stop(bend, pid, status);
		if (status >> 16 == PTRACE_EVENT_EXEC)
			return;
	}
}
