#define _GNU_SOURCE
#include "tracer.h"

#include "exit_maps.h"
#include "loader.h"
#include "mman.h"
#include "task_size_limit.h"
#include "trace_writer.h"
#include "util.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80) /* PTRACE_O_TRACESYSGOOD */
#define OPTIONS                                                                                    \
	(PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |     \
		PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)

bool tracer_needed(const struct tracer *tracer)
{
	return tracer->writes_trace || faults_any(&tracer->faults);
}

void tracer_prepare_child(const struct tracer *tracer)
{
	struct call_set calls = {.count = 0};
	if (!tracer_needed(tracer))
		return;
	raise(SIGSTOP);
	faults_calls(&tracer->faults, &calls);
	if (tracer->writes_trace)
		trace_calls(&calls);
	if (!calls.count)
		return;
	int error = install_syscall_filter(&calls, SECCOMP_RET_TRACE, 0);
	if (error)
		die(-error, "cannot stop at system calls", NULL);
}

static void complain(struct tracer *tracer, const char *action, int error)
{
	snprintf(tracer->complaint, sizeof tracer->complaint, "cannot %s: %s", action,
		strerror(error));
}

/* Continue a thread. */
static void resume(pid_t tid, int signal)
{
	ptrace(PTRACE_CONT, tid, 0, signal);
}

/* Continue a thread up to the end of its current call. */
static void resume_to_exit(pid_t tid)
{
	ptrace(PTRACE_SYSCALL, tid, 0, 0);
}

/* Wait for the next stop of a thread. Returns false if it ends; its status is left for wait(2). */
static bool wait_for_stop(pid_t tid, int *status)
{
	siginfo_t info;
	int events = WSTOPPED | WEXITED | WNOWAIT | __WALL;
	while (waitid(P_PID, (id_t)tid, &info, events) < 0)
		if (errno != EINTR)
			return false;
	if (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
		return false;
	return waitpid(tid, status, __WALL) == tid && WIFSTOPPED(*status);
}

/* ---- a program starts ---- */

/* Have a stopped thread make a call, and stop again after it. Its next instructions are the two
 * that occupy_ranges() has put there. *LATER is set to a signal that arrives meanwhile. Returns the
 * result of the call; -ESRCH if the thread has ended. */
static int64_t inject_call(pid_t tid, const registers *saved, const struct call *call, int *later)
{
	registers now = *saved;
	int status = 0;
	prepare_call(&now, call);
	if (set_registers(tid, &now) < 0)
		return -EIO;
	for (;;) {
		resume(tid, 0);
		if (!wait_for_stop(tid, &status))
			return -ESRCH;
		if (status >> 16) /* the filter stops this call as well */
			continue;
		if (WSTOPSIG(status) == SIGTRAP)
			break;
		*later = WSTOPSIG(status);
	}
	return get_registers(tid, &now) < 0 ? -EIO : call_result(&now);
}

/* Occupy one range. Returns 0, or -ESRCH if the thread has ended. */
static int occupy_range(struct tracer *tracer, struct thread *thread, const registers *saved,
	const struct range *range, int *later)
{
	unsigned long long start = range->start, end = range->end;
	bool exists = !is_compat(saved) || end <= COMPAT_END;
	uint64_t flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
	struct call map = {SYS_mmap, {start, end - start, PROT_NONE, flags, (uint64_t)-1, 0}};
	int64_t got = exists ? inject_call(thread->tid, saved, &map, later) : -ENOMEM;
	if (got == -ESRCH)
		return -ESRCH;
	thread->requested = map;
	if (tracer->writes_trace)
		trace_exit(thread, got, true);
	if (got != (int64_t)start)
		snprintf(tracer->complaint, sizeof tracer->complaint,
			"cannot occupy %#llx-%#llx: %s", start, end,
			got < 0 ? strerror((int)-got) : "the kernel lacks MAP_FIXED_NOREPLACE");
	return 0;
}

/* Replace 8 bytes of the code of a thread by *TEXT, which gets what was there. Returns 0, or -1
 * with errno. */
static int exchange_text(pid_t tid, uint64_t place, uint64_t *text, uint64_t mask)
{
	union {
		uint64_t all;
		long words[sizeof(uint64_t) / sizeof(long)];
	} old, new;
	enum { WORDS = sizeof old.words / sizeof *old.words };
	for (size_t i = 0; i < WORDS; i++) {
		errno = 0;
		uintptr_t at = (uintptr_t)place + i * sizeof(long);
		old.words[i] = ptrace(PTRACE_PEEKTEXT, tid, (void *)at, 0);
		if (errno)
			return -1;
	}
	new.all = (old.all & ~mask) | (*text & mask);
	for (size_t i = 0; i < WORDS; i++) {
		uintptr_t at = (uintptr_t)place + i * sizeof(long);
		if (ptrace(PTRACE_POKETEXT, tid, (void *)at, new.words[i]) < 0)
			return -1;
	}
	*text = old.all;
	return 0;
}

/* Occupy all ranges before the first instruction of a program. For that its first instructions are
 * replaced by a system call and a trap. Returns 0, or -ESRCH if the thread has ended. */
static int occupy_ranges(struct tracer *tracer, struct thread *thread)
{
	pid_t tid = thread->tid;
	registers saved;
	int status, later = 0;
	/* up to the exit of execve: before that its result would overwrite a register */
	resume_to_exit(tid);
	if (!wait_for_stop(tid, &status) || get_registers(tid, &saved) < 0)
		return -ESRCH;
	uint64_t place = program_counter(&saved), text = syscall_and_trap(&saved);
	if (exchange_text(tid, place, &text, SYSCALL_AND_TRAP_MASK) < 0)
		complain(tracer, "prepare its memory", errno);
	for (size_t i = 0; i < tracer->faults.occupies && !*tracer->complaint; i++)
		if (occupy_range(tracer, thread, &saved, &tracer->faults.occupied[i], &later) < 0)
			return -ESRCH;
	exchange_text(tid, place, &text, UINT64_MAX);
	set_registers(tid, &saved);
	if (later)
		kill(tid, later);
	return 0;
}

/* After an exec by the thread that was FORMER: a new program in an address space of its own. */
static void handle_exec(struct tracer *tracer, struct thread *thread, pid_t former)
{
	pid_t tid = thread->tid;
	struct thread *caller = thread_find(&tracer->threads, former);
	if (caller && caller != thread) { /* it takes the place of the first thread */
		thread_remove(&tracer->threads, thread);
		caller->tid = tid;
		thread = caller;
	}
	if (tracer->writes_trace && thread->requested.number != NO_CALL)
		trace_exit(thread, 0, false);
	address_map_release(thread->map);
	thread->map = address_map_new();
	if (tracer->faults.occupies && occupy_ranges(tracer, thread) < 0)
		return;
	thread->requested.number = NO_CALL;
	registers now;
	if (tracer->faults.failures && get_registers(tid, &now) == 0)
		thread->loader = loader_range(tid, is_compat(&now));
	if (tracer->faults.task_size_limit && !*tracer->complaint) {
		address_map_choose_layout(thread->map, tid, tracer->faults.task_size_limit);
		int error = address_map_read(thread->map, tid);
		if (error)
			complain(tracer, "read its maps", -error);
	}
	if (*tracer->complaint)
		kill(tid, SIGKILL);
	resume(tid, 0);
}

/* ---- its calls ---- */

static bool same_call(const struct call *one, const struct call *other)
{
	return one->number == other->number &&
	       !memcmp(one->arguments, other->arguments, sizeof one->arguments);
}

/* A 32-bit program ends below every ceiling. */
static struct task_size ceiling_of(struct tracer *tracer, const registers *now)
{
	uint64_t limit = is_compat(now) ? 0 : tracer->faults.task_size_limit;
	return (struct task_size){limit, &tracer->threads};
}

/* Decide what becomes of a new call, and write its registers if something changes. FILTER is what
 * the filter told. */
static void start_call(struct tracer *tracer, struct thread *thread, const struct call *call,
	registers *now, unsigned long filter)
{
	struct task_size size = ceiling_of(tracer, now);
	thread->requested = thread->faulted = *call;
	uint64_t from = program_counter(now);
	bool by_loader = from >= thread->loader.start && from < thread->loader.end;
	thread->error = faults_apply(&tracer->faults, &thread->faulted, by_loader);
	thread->issued = thread->faulted;
	thread->by_filter = !thread->error && (filter & FILTER_REFUSES);
	if (thread->by_filter)
		thread->error = (int)(filter & FILTER_ERRNO);
	if (tracer->writes_trace)
		trace_entry(thread);
	if (tracer->sends_exit_maps && call->number == SYS_exit_group)
		exit_maps_send(tracer->leader, thread->tid);
	if (size.limit && !thread->error && !thread->by_filter)
		thread->error = task_size_entry(&size, thread);
	thread->skipped = thread->error || thread->by_filter;
	if (thread->skipped)
		skip_call(now, thread->error);
	else
		set_call_arguments(now, &thread->issued);
	if (thread->skipped || !same_call(call, &thread->issued))
		set_registers(thread->tid, now);
}

/* At the entry of a call that the filter has stopped. */
static void handle_entry(struct tracer *tracer, struct thread *thread)
{
	registers now;
	unsigned long filter = 0;
	if (get_registers(thread->tid, &now) < 0)
		return;
	ptrace(PTRACE_GETEVENTMSG, thread->tid, 0, &filter);
	bool compat = (filter & FILTER_COMPAT) != 0;
	if (!(filter & FILTER_REFUSES) && compat != is_compat(&now)) {
		resume(thread->tid, 0); /* a call by int 0x80 of a program that is not for i386 */
		return;
	}
	struct call call = current_call(&now);
	/* a signal handler may come before a call is repeated: then this is another call */
	if (!thread->repeats || !same_call(&call, &thread->issued))
		start_call(tracer, thread, &call, &now, filter);
	thread->repeats = false;
	if (tracer->writes_trace || tracer->faults.task_size_limit || thread->skipped ||
		!same_call(&call, &thread->issued))
		resume_to_exit(thread->tid);
	else
		resume(thread->tid, 0);
}

/* Give the program its result, and its registers as it had them. */
static void finish_call(struct tracer *tracer, struct thread *thread, registers *now, int64_t shown)
{
	if (thread->skipped || shown != call_result(now) ||
		!same_call(&thread->requested, &thread->issued)) {
		set_call_arguments(now, &thread->requested);
		set_call_result(now, shown);
		set_registers(thread->tid, now);
	}
	if (tracer->writes_trace)
		trace_exit(thread, shown, thread->skipped && !thread->by_filter);
	thread->requested.number = NO_CALL;
}

/* At the exit of a call. */
static void handle_exit(struct tracer *tracer, struct thread *thread)
{
	registers now;
	if (get_registers(thread->tid, &now) < 0 || thread->requested.number == NO_CALL) {
		resume(thread->tid, 0);
		return;
	}
	struct task_size size = ceiling_of(tracer, &now);
	int64_t shown = thread->skipped ? -thread->error : call_result(&now);
	if (size.limit && !thread->skipped)
		shown = task_size_exit(&size, thread, shown);
	thread->repeats = shown == REPEAT_CALL;
	if (thread->repeats) {
		repeat_call(&now, &thread->issued);
		set_registers(thread->tid, &now);
	} else {
		finish_call(tracer, thread, &now, shown);
	}
	resume(thread->tid, 0);
}

/* ---- its threads and children ---- */

/* The parent reports its new child: now it is known whose address space that has. */
static void adopt(struct tracer *tracer, struct thread *parent, pid_t tid, const struct call *call)
{
	bool shares = (clone_flags_of(parent->tid, call) & CLONE_VM) != 0;
	struct address_map *map = shares ? parent->map : address_map_copy(parent->map);
	struct thread *child = thread_find(&tracer->threads, tid);
	map->users += shares;
	if (child) {
		address_map_release(child->map);
		child->map = map;
	} else {
		child = thread_add(&tracer->threads, tid, map);
	}
	if (tracer->writes_trace && parent->requested.number != NO_CALL)
		trace_exit(parent, tid, false); /* before the first line of the child */
	child->loader = parent->loader;
	if (child->awaits_parent)
		resume(tid, 0);
	child->awaits_parent = false;
}

static void handle_clone(struct tracer *tracer, struct thread *parent)
{
	unsigned long tid = 0;
	registers now;
	if (ptrace(PTRACE_GETEVENTMSG, parent->tid, 0, &tid) == 0 &&
		get_registers(parent->tid, &now) == 0) {
		struct call call = parent->requested;
		if (call.number == NO_CALL)
			call = current_call(&now);
		adopt(tracer, parent, (pid_t)tid, &call);
	}
	parent->requested.number = NO_CALL;
	resume(parent->tid, 0);
}

static void handle_end(struct tracer *tracer, struct thread *thread, int status)
{
	if (tracer->writes_trace)
		trace_end(thread->tid, status);
	thread_remove(&tracer->threads, thread);
	/* perhaps it was the parent of a thread that waits for its report */
	for (struct thread *other = tracer->threads.first; other; other = other->next)
		if (other->awaits_parent) {
			other->awaits_parent = false;
			resume(other->tid, 0);
		}
}

static void handle_signal(struct tracer *tracer, struct thread *thread, int signal)
{
	if (tracer->writes_trace)
		trace_signal(thread->tid);
	resume(thread->tid, signal);
}

static void handle_stop(struct tracer *tracer, struct thread *thread, int event, int signal)
{
	unsigned long former = 0;
	switch (event) {
	case PTRACE_EVENT_SECCOMP:
		handle_entry(tracer, thread);
		break;
	case PTRACE_EVENT_CLONE:
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
		handle_clone(tracer, thread);
		break;
	case PTRACE_EVENT_EXEC:
		ptrace(PTRACE_GETEVENTMSG, thread->tid, 0, &former);
		handle_exec(tracer, thread, (pid_t)former);
		break;
	case 0:
		if (signal == SYSCALL_STOP)
			handle_exit(tracer, thread);
		else
			handle_signal(tracer, thread, signal);
		break;
	default:
		thread->stopped = event == PTRACE_EVENT_STOP && signal != SIGTRAP;
		if (thread->stopped) /* job control: it stays stopped */
			ptrace(PTRACE_LISTEN, thread->tid, 0, 0);
		else
			resume(thread->tid, 0);
	}
}

bool tracer_handle(struct tracer *tracer, pid_t tid, int status)
{
	if (!tracer_needed(tracer))
		return false;
	struct thread *thread = thread_find(&tracer->threads, tid);
	if (!WIFSTOPPED(status)) {
		if (thread)
			handle_end(tracer, thread, status);
		return false;
	}
	if (thread)
		handle_stop(tracer, thread, status >> 16, WSTOPSIG(status));
	else /* it stays stopped until its parent reports it */
		thread_add(&tracer->threads, tid, address_map_new())->awaits_parent = true;
	return true;
}

bool tracer_has_stopped(const struct tracer *tracer, pid_t tid)
{
	const struct thread *thread = thread_find(&tracer->threads, tid);
	return thread && thread->stopped;
}

void tracer_attach(struct tracer *tracer, pid_t pid)
{
	int status;
	if (!tracer_needed(tracer) || waitpid(pid, &status, WUNTRACED) != pid ||
		!WIFSTOPPED(status))
		return;
	if (ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) < 0) {
		snprintf(tracer->complaint, sizeof tracer->complaint, "cannot be traced: %s",
			strerror(errno));
		kill(pid, SIGKILL);
		return;
	}
	thread_add(&tracer->threads, pid, address_map_new());
	tracer->leader = pid;
	if (tracer->writes_trace)
		trace_attached(pid);
	kill(pid, SIGCONT);
	while (wait_for_stop(pid, &status)) {
		tracer_handle(tracer, pid, status);
		if (status >> 16 == PTRACE_EVENT_EXEC)
			return;
	}
}
