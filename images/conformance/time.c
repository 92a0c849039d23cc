/* Time: clocks, timers and sleeping. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t calls;

static void count(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	calls++;
}

static double read_clock(clockid_t clock)
{
	struct timespec time;
	if (syscall(SYS_clock_gettime, clock, &time))
		cannot("clock_gettime");
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

PROBE(monotonic, "time/monotonic", "CLOCK_MONOTONIC never goes back, in 10,000 readings.",
	"clock_gettime(2)")
{
	double last = now();
	for (int n = 0; n < 10000; n++) {
		double next = now();
		DEMAND(next >= last, "it went back by %.9f s", last - next);
		last = next;
	}
}

static double last_of_thread;

static void *read_after(void *unused)
{
	(void)unused;
	double time = now();
	DEMAND(time >= last_of_thread, "a later reading in another thread is %.9f s earlier",
		last_of_thread - time);
	last_of_thread = time;
	return NULL;
}

PROBE(monotonic_threads, "time/monotonic-over-threads",
	"CLOCK_MONOTONIC never goes back from one thread to another.", "clock_gettime(2)")
{
	for (int n = 0; n < 50; n++) {
		pthread_t thread;
		last_of_thread = now();
		pthread_create(&thread, NULL, read_after, NULL);
		pthread_join(thread, NULL);
		DEMAND(now() >= last_of_thread, "it went back");
	}
}

PROBE(clocks_agree, "time/clocks",
	"time, gettimeofday and CLOCK_REALTIME agree, and CLOCK_BOOTTIME is not before "
	"CLOCK_MONOTONIC.",
	"clock_gettime(2)")
{
	struct timeval day;
	double before = read_clock(CLOCK_REALTIME);
	syscall(SYS_gettimeofday, &day, NULL);
	double after = read_clock(CLOCK_REALTIME),
	       middle = (double)day.tv_sec + (double)day.tv_usec / 1e6;
	DEMAND(middle >= before - 2e-6 && middle <= after + 2e-6, "gettimeofday is %.6f s off",
		middle - before);
	double monotonic = now(), boot = read_clock(CLOCK_BOOTTIME);
	DEMAND(boot >= monotonic, "CLOCK_BOOTTIME is %.6f s before CLOCK_MONOTONIC",
		monotonic - boot);
}

PROBE(resolution, "time/resolution", "clock_getres tells a resolution between 1 ns and 10 ms.",
	"clock_getres(2)")
{
	struct timespec step;
	demand_errno(syscall(SYS_clock_getres, CLOCK_MONOTONIC, &step), 0, "clock_getres");
	set_value(step.tv_nsec);
	DEMAND(!step.tv_sec && step.tv_nsec >= 1 && step.tv_nsec <= 10000000, "%ld ns",
		step.tv_nsec);
}

PROBE(bad_clock, "time/unknown-clock", "An unknown clock fails with EINVAL.", "clock_gettime(2)")
{
	struct timespec time;
	demand_errno(syscall(SYS_clock_gettime, 999, &time), EINVAL, "clock_gettime");
}

PROBE(sleeps, "time/nanosleep", "nanosleep does not return early, in 20 sleeps of 2 ms.",
	"nanosleep(2)")
{
	for (int n = 0; n < 20; n++) {
		double before = now();
		nanosleep(&(struct timespec){0, 2000000}, NULL);
		double slept = now() - before;
		DEMAND(slept >= 0.002, "it returned after %.3f ms of 2", slept * 1000);
	}
}

PROBE(sleeps_until, "time/absolute-sleep",
	"clock_nanosleep with TIMER_ABSTIME sleeps until that time.", "clock_nanosleep(2)")
{
	struct timespec until;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &until);
	until.tv_nsec += 20000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	demand_errno(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0,
		"clock_nanosleep");
	double left = (double)until.tv_sec + (double)until.tv_nsec / 1e9 - now();
	DEMAND(left <= 0, "it returned %.6f s early", left);
}

PROBE(poll_timeout, "time/poll-timeout",
	"poll, select and ppoll do not return before their timeout.", "poll(2), select(2)")
{
	double start_time = now();
	demand_equal(poll(NULL, 0, 10), 0, "the result of poll");
	double polled = now();
	demand_equal(select(0, NULL, NULL, NULL, &(struct timeval){0, 10000}), 0,
		"the result of select");
	double selected = now();
	DEMAND(polled - start_time >= 0.0099, "poll returned after %.3f ms of 10",
		(polled - start_time) * 1000);
	DEMAND(selected - polled >= 0.0099, "select returned after %.3f ms of 10",
		(selected - polled) * 1000);
}

static void use_processor(double seconds)
{
	double end = now() + seconds;
	while (now() < end)
		for (volatile int n = 0; n < 10000; n++)
			;
}

PROBE(cpu_clock, "time/processor-clock",
	"CLOCK_PROCESS_CPUTIME_ID advances while a process computes, and hardly while it sleeps.",
	"clock_gettime(2)")
{
	double before = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	use_processor(0.03);
	double used = read_clock(CLOCK_PROCESS_CPUTIME_ID) - before;
	/* a busy host may keep the guest from the processor while a call of it is charged */
	double slept = 1;
	for (int n = 0; n < 5 && slept >= 0.05; n++) {
		before = read_clock(CLOCK_PROCESS_CPUTIME_ID);
		sleep_ms(100);
		slept = read_clock(CLOCK_PROCESS_CPUTIME_ID) - before;
	}
	set_value((long)(used * 1e6));
	DEMAND(used > 0, "it does not advance");
	DEMAND(slept < 0.05, "it advances %.3f s in each of five sleeps of 0.1 s", slept);
}

static pthread_barrier_t started;
static double used_by_thread;

/* Compute for 60 ms of the thread's own clock, or for 5 s if that clock stands still. */
static void *compute_in_thread(void *unused)
{
	double end = now() + 5;
	(void)unused;
	pthread_barrier_wait(&started);
	do {
		use_processor(0.002);
		used_by_thread = read_clock(CLOCK_THREAD_CPUTIME_ID);
	} while (used_by_thread < 0.06 && now() < end);
	return NULL;
}

/* What the clock of this thread counts while it waits for one that computes. */
static double own_time_beside_another(void)
{
	pthread_t thread;
	pthread_barrier_init(&started, NULL, 2);
	if (pthread_create(&thread, NULL, compute_in_thread, NULL))
		cannot("pthread_create");
	pthread_barrier_wait(&started);
	double own = read_clock(CLOCK_THREAD_CPUTIME_ID);
	pthread_join(thread, NULL);
	return read_clock(CLOCK_THREAD_CPUTIME_ID) - own;
}

PROBE(thread_clock, "time/thread-clock", "CLOCK_THREAD_CPUTIME_ID counts the own thread only.",
	"clock_gettime(2)")
{
	/* a busy host may keep the guest from the processor while a call of it is charged */
	double own = 1;
	for (int n = 0; n < 5 && own >= 0.03; n++) {
		own = own_time_beside_another();
		DEMAND(used_by_thread >= 0.06, "the clock of a busy thread is at %.3f s after 5 s",
			used_by_thread);
	}
	DEMAND(own < 0.03,
		"the clock of a thread that waits advances %.3f s beside each of five others", own);
}

PROBE(rusage_clock, "time/rusage", "getrusage and CLOCK_PROCESS_CPUTIME_ID agree within 50 ms.",
	"getrusage(2)")
{
	struct rusage usage;
	use_processor(0.05);
	double clock = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	getrusage(RUSAGE_SELF, &usage);
	double used = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	DEMAND(used - clock < 0.05 && clock - used < 0.05,
		"getrusage tells %.3f s, the clock %.3f s", used, clock);
}

PROBE(real_timer, "time/itimer-real", "ITIMER_REAL signals SIGALRM each period.", "setitimer(2)")
{
	on_signal(SIGALRM, count, 0);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 5000}, {0, 5000}}, NULL);
	double end = now() + 5;
	while (calls < 5 && now() < end)
		sleep_ms(5);
	DEMAND(calls >= 5, "%d signals in 5 s", (int)calls);
}

/* Compute under a timer of 10 ms until three signals have come. */
static void compute_under_timer(int timer, int number)
{
	on_signal(number, count, 0);
	setitimer(timer, &(struct itimerval){{0, 10000}, {0, 10000}}, NULL);
	double end = now() + 5;
	while (calls < 3 && now() < end)
		use_processor(0.01);
	DEMAND(calls >= 3, "%d signals in 5 s", (int)calls);
}

PROBE(virtual_timer, "time/itimer-virtual",
	"ITIMER_VIRTUAL signals SIGVTALRM while the process computes.", "setitimer(2)")
{
	compute_under_timer(ITIMER_VIRTUAL, SIGVTALRM);
}

PROBE(profile_timer, "time/itimer-prof",
	"ITIMER_PROF signals SIGPROF while the process computes: profilers need it.",
	"setitimer(2)")
{
	compute_under_timer(ITIMER_PROF, SIGPROF);
}

PROBE(timer_rest, "time/itimer-rest", "getitimer tells what remains of a timer.", "getitimer(2)")
{
	struct itimerval left;
	setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {100, 0}}, NULL);
	getitimer(ITIMER_REAL, &left);
	DEMAND(left.it_value.tv_sec == 99 || left.it_value.tv_sec == 100, "%ld s",
		(long)left.it_value.tv_sec);
}

PROBE(timerfd, "time/timerfd", "A timerfd tells how often it has expired.", "timerfd_create(2)")
{
	uint64_t times = 0;
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	if (timer < 0)
		cannot("timerfd_create");
	timerfd_settime(timer, 0, &(struct itimerspec){{0, 2000000}, {0, 2000000}}, NULL);
	sleep_ms(20);
	demand_equal(read(timer, &times, sizeof times), sizeof times, "the result of read");
	set_value((long)times);
	DEMAND(times >= 9, "%ld expirations of 2 ms in 20 ms", (long)times);
}

PROBE(overrun, "time/timer-overrun",
	"timer_getoverrun counts the expirations of a blocked timer signal.", "timer_getoverrun(2)")
{
	timer_t timer;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		cannot("timer_create");
	timer_settime(timer, 0, &(struct itimerspec){{0, 2000000}, {0, 2000000}}, NULL);
	sleep_ms(20);
	DEMAND(sigwaitinfo(&set, NULL) == SIGUSR1, "the signal is not pending");
	int missed = timer_getoverrun(timer);
	set_value(missed);
	DEMAND(missed >= 7, "%d expirations were counted", missed);
}

static void ask_for_random_bytes(void)
{
	static char bytes[65536];
	if (syscall(SYS_getrandom, bytes, sizeof bytes, 0) < 0)
		cannot("getrandom");
}

static void compute(void)
{
	use_processor(0.002);
}

/* Act until the process has used so many seconds of a processor, or for 5 s; tell which part of
 * them is system time.
 */
static double system_share_of(void (*act)(void), double seconds)
{
	double end = now() + 5, user, system;
	do {
		struct rusage usage;
		act();
		getrusage(RUSAGE_SELF, &usage);
		user = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
		system = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
	} while (user + system < seconds && now() < end);
	set_value((long)(system * 1e6));
	DEMAND(user + system > 0, "no time is counted");
	return system / (user + system);
}

PROBE(system_time, "time/system-time",
	"Of a process that makes system calls which take long, most of the time is system time.",
	"getrusage(2): ru_stime, the time spent executing in kernel mode")
{
	double share = system_share_of(ask_for_random_bytes, 0.2);
	DEMAND(share >= 0.5, "%d %% is system time", (int)(share * 100));
}

PROBE(user_time, "time/user-time", "Of a process that computes, most of the time is user time.",
	"getrusage(2): ru_utime, the time spent executing in user mode")
{
	double share = system_share_of(compute, 0.2);
	DEMAND(share <= 0.5, "%d %% is system time", (int)(share * 100));
}

static int cpu_of_child(void)
{
	use_processor(0.05);
	return 0;
}

PROBE(children_time, "time/children",
	"RUSAGE_CHILDREN counts the time of a child that was waited for.", "getrusage(2)")
{
	struct rusage usage;
	in_child(cpu_of_child);
	getrusage(RUSAGE_CHILDREN, &usage);
	long used = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
		    usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	set_value(used);
	DEMAND(used > 0, "it counts nothing");
}

#ifdef __x86_64__
PROBE(timestamp, "time/timestamp-counter", "rdtsc does not go back, in 10,000 readings.",
	"Intel SDM volume 3, 18.17")
{
	unsigned long last = 0;
	for (int n = 0; n < 10000; n++) {
		unsigned int low, high;
		__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
		unsigned long next = low | (unsigned long)high << 32;
		DEMAND(next >= last, "it went back by %lu", last - next);
		last = next;
	}
}
#endif
