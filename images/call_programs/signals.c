/* The calls that concern signals, and what a handler sees. */
#define _GNU_SOURCE
#include "interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

enum {
	DEEPEST = 4,       /* handlers within each other of which the last still raises a signal */
	MOST_HANDLED = 20, /* handlers of a program that do */
	STACK_BYTES = 1 << 16,
	BLOCKED_POLLS = 3, /* a process that is asleep so often in a row is blocked */
	MOST_POLLS = 1000,
	BLOCKED_SECONDS = 2, /* of a call that nothing ends */
};

sigjmp_buf fault_jump;
volatile sig_atomic_t fault_expected, brief_faults;

static sigjmp_buf step_jump; /* where a handler jumps out of its step */
static volatile sig_atomic_t step_expected;
static int depth;
static char stack[STACK_BYTES] __attribute__((aligned(4096)));

static const struct constant signals[] = {
	{"int", SIGINT},
	{"usr1", SIGUSR1},
	{"usr2", SIGUSR2},
	{"alrm", SIGALRM},
	{"chld", SIGCHLD},
	{"segv", SIGSEGV},
	{"bus", SIGBUS},
	{"term", SIGTERM},
	{"cont", SIGCONT},
	{"urg", SIGURG},
	{"rt1", 40},
	{"rt2", 41},
	{NULL, 0},
};
enum { RELEASE = 45, MOST_SIGNALS = 64 }; /* the signal that ends a call which blocks for good */

const char *signal_name(int number)
{
	static char text[16];
	for (const struct constant *each = signals; each->name; each++)
		if (each->value == number)
			return each->name;
	snprintf(text, sizeof text, "%d", number);
	return text;
}

static int signal_number(const struct step *step, int word)
{
	return (int)flags(step, word, signals);
}

/* Read signals that are joined with +; `-` is none. */
static sigset_t signal_set(const struct step *step, int word)
{
	sigset_t set;
	char copy[128], *rest = copy, *name;
	sigemptyset(&set);
	snprintf(copy, sizeof copy, "%s", step->words[word]);
	while ((name = strsep(&rest, "+"))) {
		struct step one = {.words = {name}};
		if (strcmp(name, "-"))
			sigaddset(&set, signal_number(&one, 0));
	}
	return set;
}

static void answer_set(const sigset_t *set)
{
	bool any = false;
	for (const struct constant *each = signals; each->name; each++) {
		if (sigismember(set, (int)each->value) == 1) {
			answer(any ? "+%s" : "%s", each->name);
			any = true;
		}
	}
	if (!any)
		answer("-");
}

/* ---- handlers ---- */

enum action { NOTHING, RAISE, BLOCK, UNBLOCK, NO_STACK, JUMP };
static const struct constant actions[] = {
	{"nothing", NOTHING},
	{"raise", RAISE},
	{"block", BLOCK},
	{"unblock", UNBLOCK},
	{"nostack", NO_STACK},
	{"jump", JUMP},
	{NULL, 0},
};
static struct {
	enum action action;
	int argument; /* a signal */
} on_signal[MOST_SIGNALS + 1];

static long send_self(int number)
{
	return syscall(SYS_tgkill, getpid(), gettid(), number);
}

static void act(int number, ucontext_t *interrupted)
{
	int argument = on_signal[number].argument;
	switch (on_signal[number].action) {
	case NOTHING:
		break;
	case RAISE:
		if (depth < DEEPEST && shared->handled < MOST_HANDLED)
			send_self(argument);
		break;
	case BLOCK:
		sigaddset(&interrupted->uc_sigmask, argument);
		break;
	case UNBLOCK:
		sigdelset(&interrupted->uc_sigmask, argument);
		break;
	case NO_STACK:
		answer_result(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
		break;
	case JUMP:
		if (step_expected) {
			depth = 0;
			answer(" jump]");
			siglongjmp(step_jump, 1);
		}
		break;
	}
}

static bool is_on_stack(void)
{
	char here;
	return &here >= stack && &here < stack + STACK_BYTES;
}

static void answer_origin(int number, const siginfo_t *info)
{
	answer(" code %d", info->si_code);
	if (info->si_code > 0 && (number == SIGSEGV || number == SIGBUS))
		answer(" addr %s", place(info->si_addr));
	if (info->si_code == SI_QUEUE)
		answer(" value %d", info->si_value.sival_int);
}

/* The handler of all signals of a program. */
static void handle(int number, siginfo_t *info, void *context)
{
	int error = errno;
	sigset_t mask;
	if (brief_faults && fault_expected && info->si_code > 0) {
		answer(" %c%d", *signal_name(number), info->si_code);
		siglongjmp(fault_jump, 1);
	}
	depth++;
	shared->handled++;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	answer(" [%s", signal_name(number));
	answer_origin(number, info);
	answer(is_on_stack() ? " stack mask " : " mask ");
	answer_set(&mask);
	if (fault_expected && info->si_code > 0 && (number == SIGSEGV || number == SIGBUS)) {
		depth = 0;
		answer("]");
		siglongjmp(fault_jump, 1);
	}
	act(number, context);
	answer("]");
	depth--;
	errno = error;
}

static void release(int number)
{
	(void)number;
}

static void catch_one(int number, bool always)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO}, old;
	if (always || (!sigaction(number, NULL, &old) && old.sa_handler == SIG_DFL))
		sigaction(number, &action, NULL);
}

void catch_signals(bool always)
{
	sigset_t faults;
	for (const struct constant *each = signals; each->name; each++)
		catch_one((int)each->value, always);
	sigemptyset(&faults);
	sigaddset(&faults, SIGSEGV);
	sigaddset(&faults, SIGBUS);
	if (always)
		sigprocmask(SIG_UNBLOCK, &faults, NULL);
}

/* handle SIGNAL default|ignore|catch FLAGS MASK ACTION [SIGNAL OF THE ACTION] */
static void set_action(const struct step *step)
{
	enum { DEFAULT, IGNORE, CATCH };
	static const struct constant hows[] = {
		{"default", DEFAULT},
		{"ignore", IGNORE},
		{"catch", CATCH},
		{NULL, 0},
	};
	static const struct constant action_flags[] = {
		{"-", 0},
		{"restart", SA_RESTART},
		{"nodefer", SA_NODEFER},
		{"reset", (int)SA_RESETHAND},
		{"stack", SA_ONSTACK},
		{"nowait", SA_NOCLDWAIT},
		{"nostop", SA_NOCLDSTOP},
		{NULL, 0},
	};
	int number = signal_number(step, 1);
	long how = flags(step, 2, hows);
	struct sigaction action = {.sa_flags = SA_SIGINFO | (int)flags(step, 3, action_flags)}, old;
	action.sa_mask = signal_set(step, 4);
	if (how == CATCH)
		action.sa_sigaction = handle;
	else
		action.sa_handler = how == IGNORE ? SIG_IGN : SIG_DFL;
	on_signal[number].action = (enum action)flags(step, 5, actions);
	on_signal[number].argument = step->words[6][0] ? signal_number(step, 6) : 0;
	long result = sigaction(number, &action, &old);
	answer_result(result);
	if (!result)
		answer(old.sa_handler == SIG_DFL    ? " default"
			: old.sa_handler == SIG_IGN ? " ignore"
						    : " catch");
}

/* mask block|unblock|set SIGNALS */
static void set_mask(const struct step *step)
{
	static const struct constant hows[] = {
		{"block", 1},
		{"unblock", 2},
		{"set", 4},
		{NULL, 0},
	};
	long how = flags(step, 1, hows);
	sigset_t set = signal_set(step, 2), old;
	int call = how == 1 ? SIG_BLOCK : how == 2 ? SIG_UNBLOCK : SIG_SETMASK;
	answer_result(sigprocmask(call, &set, &old));
	answer(" old ");
	answer_set(&old);
}

/* Run a call that may be left by a handler that jumps. */
#define WITH_JUMP(call)                                                                            \
	do {                                                                                       \
		step_expected = 1;                                                                 \
		if (!sigsetjmp(step_jump, 1)) {                                                    \
			call;                                                                      \
		}                                                                                  \
		step_expected = 0;                                                                 \
	} while (0)

/* raise SIGNAL: to this thread */
static void raise_signal(const struct step *step)
{
	WITH_JUMP(answer_result(send_self(signal_number(step, 1))));
}

/* kill SIGNAL: to this process */
static void kill_self(const struct step *step)
{
	WITH_JUMP(answer_result(kill(getpid(), signal_number(step, 1))));
}

/* queue SIGNAL VALUE */
static void queue(const struct step *step)
{
	union sigval value = {.sival_int = (int)number(step, 2)};
	WITH_JUMP(answer_result(sigqueue(getpid(), signal_number(step, 1), value)));
}

/* pending */
static void pending(const struct step *step)
{
	sigset_t set;
	(void)step;
	sigpending(&set);
	answer(" ");
	answer_set(&set);
}

/* take SIGNALS: wait for them, but not at all */
static void take(const struct step *step)
{
	sigset_t set = signal_set(step, 1);
	siginfo_t info;
	int number = sigtimedwait(&set, &info, &(struct timespec){0, 0});
	if (number < 0) {
		answer_result(-1);
		return;
	}
	answer(" %s", signal_name(number));
	answer_origin(number, &info);
}

/* signalfd SIGNALS: read one from a descriptor */
static void read_signalfd(const struct step *step)
{
	sigset_t set = signal_set(step, 1);
	struct signalfd_siginfo info;
	int file = signalfd(-1, &set, SFD_NONBLOCK);
	long got = read(file, &info, sizeof info);
	if (got < 0)
		answer_result(-1);
	else
		answer(" %s code %d", signal_name((int)info.ssi_signo), info.ssi_code);
	close(file);
}

/* altstack BYTES on|autodisarm|off */
static void set_stack(const struct step *step)
{
	static const struct constant hows[] = {
		{"on", 0},
		{"off", SS_DISABLE},
		{"autodisarm", (int)SS_AUTODISARM},
		{NULL, 0},
	};
	stack_t wanted = {.ss_sp = stack, .ss_size = (size_t)number(step, 1)}, old;
	wanted.ss_flags = (int)flags(step, 2, hows);
	long result = sigaltstack(&wanted, &old);
	answer_result(result);
	if (!result)
		answer(" old %#x %zu", (unsigned)old.ss_flags,
			old.ss_flags & SS_DISABLE ? 0 : old.ss_size);
}

/* ---- calls that a signal interrupts ---- */

enum blocking { READ, SLEEP, POLL, FUTEX, SUSPEND, TIMED_TAKE };
static const struct constant blocking_calls[] = {
	{"pipe", READ},
	{"sleep", SLEEP},
	{"poll", POLL},
	{"futex", FUTEX},
	{"suspend", SUSPEND},
	{"wait", TIMED_TAKE},
	{NULL, 0},
};
static int futex_word;

static bool is_asleep(pid_t process, pid_t thread)
{
	char name[64], text[256] = "";
	snprintf(name, sizeof name, "/proc/%d/task/%d/stat", process, thread);
	int file = open(name, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	long got = read(file, text, sizeof text - 1);
	close(file);
	const char *end = got > 0 ? strrchr(text, ')') : NULL;
	return end && end[2] == 'S';
}

/* Wait until a thread is blocked, or its call has returned. */
static void await_block(pid_t process, pid_t thread)
{
	int asleep = 0;
	for (int n = 0; n < MOST_POLLS && asleep < BLOCKED_POLLS && !shared->done; n++) {
		asleep = is_asleep(process, thread) ? asleep + 1 : 0;
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
}

/* Send the signal once the thread is blocked; end its call if that goes on. */
static _Noreturn void interrupt(pid_t process, pid_t thread, int number, int pipe_end)
{
	await_block(process, thread);
	syscall(SYS_tgkill, process, thread, number);
	await_block(process, thread);
	if (!shared->done) {
		shared->released = 1;
		if (write(pipe_end, "r", 1) == 1)
			syscall(SYS_tgkill, process, thread, RELEASE);
	}
	_exit(0);
}

static long block(enum blocking call, int pipe_end)
{
	struct timespec brief = {BLOCKED_SECONDS, 0};
	struct pollfd poll_end = {.fd = pipe_end, .events = POLLPRI};
	sigset_t none;
	char got = 0;
	sigemptyset(&none);
	switch (call) {
	case READ:
		return read(pipe_end, &got, 1);
	case SLEEP:
		return syscall(SYS_nanosleep, &brief, NULL);
	case POLL:
		return poll(&poll_end, 1, BLOCKED_SECONDS * 1000);
	case FUTEX:
		return syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, &brief, NULL, 0);
	case SUSPEND:
		return sigsuspend(&none);
	case TIMED_TAKE:
		return sigtimedwait(&none, NULL, &brief);
	}
	return 0;
}

/* interrupt CALL SIGNAL: block in a call, and get the signal there */
static void interrupted_call(const struct step *step)
{
	enum blocking call = (enum blocking)flags(step, 1, blocking_calls);
	int number = signal_number(step, 2), pipe_ends[2];
	pid_t process = getpid(), thread = gettid();
	struct sigaction action = {.sa_handler = release};
	sigset_t set;
	if (pipe(pipe_ends))
		reject("it fails", "pipe");
	sigaction(RELEASE, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, RELEASE);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	shared->done = shared->released = 0;
	/* no SIGCHLD at its end */
	pid_t helper = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	if (!helper)
		interrupt(process, thread, number, pipe_ends[1]);
	WITH_JUMP({
		long result = block(call, pipe_ends[0]);
		shared->done = 1;
		answer_result(result);
		if (shared->released)
			answer(" released");
	});
	shared->done = 1;
	while (waitpid(helper, NULL, __WALL) < 0 && errno == EINTR)
		;
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}

const struct call signal_calls[] = {
	{"handle", set_action},
	{"mask", set_mask},
	{"raise", raise_signal},
	{"kill", kill_self},
	{"queue", queue},
	{"pending", pending},
	{"take", take},
	{"signalfd", read_signalfd},
	{"altstack", set_stack},
	{"interrupt", interrupted_call},
	{NULL, NULL},
};
