/* conformance: asks the kernel the questions of all probes, or of those that are named.
 *
 *     conformance [--list] [GROUP | GROUP/PROBE]...
 *
 * Prints one JSON line for each probe, and {"started": NAME} before it, so that the last line tells
 * which probe ended its guest. Exits with 0 if all conform or do not apply, 1 if one differs, 2 for
 * an unknown name.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { LIMIT_SECONDS = 30, MOST_TEXT = 300 };
enum result { NONE, CONFORMS, DIFFERS, SKIPPED };
static const char *const RESULTS[] = {"conforms", "conforms", "differs", "skipped"};

/* The answer of the running probe, shared with its processes. */
struct answer {
	atomic_int claimed; /* by the process that writes the rest */
	atomic_int result;
	int error;
	long value;
	char text[MOST_TEXT];
};
static struct answer *answer;

extern const struct probe *const __start_probes[];
extern const struct probe *const __stop_probes[];

/* ---- what probes call ---- */

static _Noreturn void give(enum result result, int error, const char *format, va_list arguments)
{
	int unclaimed = 0;
	if (atomic_compare_exchange_strong(&answer->claimed, &unclaimed, 1)) {
		answer->error = error;
		vsnprintf(answer->text, sizeof answer->text, format, arguments);
		atomic_store(&answer->result, result);
	}
	/* another thread or process may be writing: its process must not end before it is done */
	for (int n = 0; n < 1000 && !atomic_load(&answer->result); n++)
		sleep_ms(1);
	_exit(0);
}

#define GIVE(result)                                                                               \
	do {                                                                                       \
		int error = errno;                                                                 \
		va_list arguments;                                                                 \
		va_start(arguments, format);                                                       \
		give(result, error, format, arguments);                                            \
	} while (0)

void conforms(const char *format, ...)
{
	errno = 0;
	GIVE(CONFORMS);
}

void differs(const char *format, ...)
{
	GIVE(DIFFERS);
}

void skips(const char *format, ...)
{
	GIVE(SKIPPED);
}

void cannot(const char *what)
{
	differs("%s fails: %s", what, strerror(errno));
}

void set_value(long value)
{
	answer->value = value;
}

void demand_errno(long result, int error, const char *call)
{
	int got = result == -1 ? errno : 0;
	if (got == error)
		return;
	set_value(result);
	if (!error)
		differs("%s fails: %s", call, strerror(got));
	if (!got)
		differs("%s succeeds, and must fail: %s", call, strerror(error));
	differs("%s fails: %s; must fail: %s", call, strerror(got), strerror(error));
}

void demand_equal(long actual, long wanted, const char *what)
{
	if (actual == wanted)
		return;
	set_value(actual);
	errno = 0;
	if (labs(actual) < 10000 && labs(wanted) < 10000)
		differs("%s is %ld, not %ld", what, actual, wanted);
	differs("%s is %#lx, not %#lx", what, actual, wanted);
}

size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void *map_pages(size_t pages, int protection)
{
	void *at = mmap(NULL, pages * page_size(), protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		cannot("mmap");
	return at;
}

int file_of(size_t pages)
{
	int file = (int)syscall(SYS_memfd_create, "probe", MFD_ALLOW_SEALING);
	if (file < 0 || ftruncate(file, (off_t)(pages * page_size())))
		cannot("memfd_create");
	return file;
}

char *map_file(int file, size_t pages, int flags)
{
	char *at = mmap(NULL, pages * page_size(), PROT_READ | PROT_WRITE, flags, file, 0);
	if (at == MAP_FAILED)
		cannot("mmap");
	return at;
}

bool is_mapped(uintptr_t address)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;
	if (!maps)
		cannot("fopen");
	while (fgets(line, sizeof line, maps)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			found |= address >= from && address < to;
	}
	fclose(maps);
	return found;
}

void on_signal(int number, handler handle, int flags)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | flags};
	if (sigaction(number, &action, NULL))
		cannot("sigaction");
}

static sigjmp_buf after_fault;
static struct fault seen;

static void note_fault(int number, siginfo_t *info, void *context)
{
#ifdef __x86_64__
	/* a handler has the AC flag of what it interrupts; compiled code and libc read unaligned
	 * words */
	__asm__ volatile("pushfq; andl %0, (%%rsp); popfq" ::"i"(~0x40000) : "cc", "memory");
#endif
	seen = (struct fault){.number = number, .code = info->si_code, .address = info->si_addr};
#ifdef __x86_64__
	const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	seen.trap = (unsigned long)registers[REG_TRAPNO];
	seen.error = (unsigned long)registers[REG_ERR];
	seen.cr2 = (unsigned long)registers[REG_CR2];
	seen.ip = (unsigned long)registers[REG_RIP];
#else
	(void)context;
#endif
	siglongjmp(after_fault, 1);
}

struct fault fault_of(void (*action)(void *), void *argument)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	for (size_t n = 0; n < sizeof faults / sizeof *faults; n++)
		on_signal(faults[n], note_fault, 0);
	seen = (struct fault){0};
	if (!sigsetjmp(after_fault, 1))
		action(argument);
	for (size_t n = 0; n < sizeof faults / sizeof *faults; n++)
		signal(faults[n], SIG_DFL);
	return seen;
}

static void read_byte(void *address)
{
	*(volatile char *)address;
}

static void write_byte(void *address)
{
	*(volatile char *)address = 1;
}

static void call(void *address)
{
	((void (*)(void))(uintptr_t)address)();
}

struct fault fault_of_read(const void *address)
{
	return fault_of(read_byte, (void *)(uintptr_t)address);
}

struct fault fault_of_write(void *address)
{
	return fault_of(write_byte, address);
}

struct fault fault_of_call(void *address)
{
	return fault_of(call, address);
}

void demand_fault(struct fault fault, int number, int code, const void *address)
{
	errno = 0;
	set_value(fault.number);
	if (fault.number != number)
		differs("signal %d, not %d", fault.number, number);
	set_value(fault.code);
	if (fault.code != code)
		differs("si_code of signal %d is %d, not %d", number, fault.code, code);
	set_value((long)(uintptr_t)fault.address);
	if (fault.address != address)
		differs("si_addr of signal %d is %p, not %p", number, fault.address, address);
}

int wait_for(pid_t child)
{
	int status;
	pid_t got;
	do
		got = waitpid(child, &status, __WALL);
	while (got < 0 && errno == EINTR);
	if (got != child)
		cannot("waitpid");
	return status;
}

pid_t start(int (*action)(void))
{
	pid_t child = fork();
	if (child < 0)
		cannot("fork");
	if (!child)
		_exit(action());
	return child;
}

int in_child(int (*action)(void))
{
	int status = wait_for(start(action));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void sleep_ms(int milliseconds)
{
	struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

double now(void)
{
	struct timespec time;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- running them ---- */

static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text < ' ' || *text > '~' ? '?' : *text);
	}
	putchar('"');
}

static void print_field(const char *name, const char *text)
{
	printf(", \"%s\": ", name);
	print_string(text);
}

static void print_about(const struct probe *probe)
{
	printf("{\"probe\": ");
	print_string(probe->name);
	print_field("demand", probe->demand);
	print_field("source", probe->source);
}

static void print_answer(const struct probe *probe)
{
	print_about(probe);
	print_field("result", RESULTS[answer->result]);
	print_field("measured", answer->text);
	printf(", \"errno\": %d, \"value\": %ld}\n", answer->error, answer->value);
	fflush(stdout);
}

/* Let a probe start as any program does: default actions, no blocked signals; without a core file,
 * and with pages of one size, because some probes count them.
 */
static _Noreturn void run_in_child(const struct probe *probe)
{
	sigset_t none;
	sigemptyset(&none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	setpgid(0, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	sigprocmask(SIG_SETMASK, &none, NULL);
	probe->run();
	conforms("as demanded");
}

/* Wait until the child has ended, at most so many seconds; tell whether it did. SIGCHLD is blocked.
 *
 * A wait counts for as long as it was asked for: where the machine has no time for this program, it
 * has none for the probe.
 */
static bool await_end(pid_t child, int seconds, const sigset_t *child_signal, int *status)
{
	const struct timespec tenth = {0, 100000000};
	for (int tenths = 0; tenths < 10 * seconds;) {
		if (waitpid(child, status, WNOHANG) == child)
			return true;
		if (sigtimedwait(child_signal, NULL, &tenth) < 0 && errno == EAGAIN)
			tenths++;
	}
	return false;
}

static void end_all(pid_t child, bool ended)
{
	kill(-child, SIGKILL);
	if (!ended) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) /* orphans of the probe */
		;
}

/* What the kernel has reported of its own faults, as bits; 0 where it does not tell. */
static long taint(void)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");
	long bits = 0;
	if (file && fscanf(file, "%ld", &bits) != 1)
		bits = 0;
	if (file)
		fclose(file);
	return bits;
}

static enum result ask(const struct probe *probe)
{
	sigset_t child_signal;
	sigemptyset(&child_signal);
	sigaddset(&child_signal, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_signal, NULL);
	memset(answer, 0, sizeof *answer);
	printf("{\"started\": \"%s\"}\n", probe->name);
	fflush(stdout);
	long before = taint();
	pid_t child = fork();
	if (child < 0) {
		snprintf(answer->text, MOST_TEXT, "fork fails: %s", strerror(errno));
		answer->result = DIFFERS;
		print_answer(probe);
		return DIFFERS;
	}
	if (!child)
		run_in_child(probe);
	int status = 0;
	bool ended = await_end(child, LIMIT_SECONDS, &child_signal, &status);
	end_all(child, ended);
	if (answer->result == NONE) {
		answer->result = DIFFERS;
		if (!ended)
			snprintf(
				answer->text, MOST_TEXT, "it still runs after %d s", LIMIT_SECONDS);
		else if (WIFSIGNALED(status))
			snprintf(answer->text, MOST_TEXT, "killed by signal %d", WTERMSIG(status));
		else
			snprintf(answer->text, MOST_TEXT, "ended with status %d, without an answer",
				WEXITSTATUS(status));
		answer->value = status;
	}
	/* the harness sees that as well, but not under which probe of a group */
	long after = taint();
	if (answer->result == CONFORMS && after != before) {
		answer->result = DIFFERS;
		answer->value = after;
		snprintf(answer->text, MOST_TEXT,
			"the kernel reports a fault of its own: its taint is %ld, and was %ld",
			after, before);
	}
	print_answer(probe);
	return (enum result)answer->result;
}

static bool is_chosen(const struct probe *probe, const char *word)
{
	size_t group = strcspn(probe->name, "/");
	bool whole_group = strlen(word) == group && !strncmp(probe->name, word, group);
	return (whole_group && !probe->alone) || !strcmp(probe->name, word);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(
		(*(const struct probe *const *)a)->name, (*(const struct probe *const *)b)->name);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--executed"))
		return executed(argv[2]);
	size_t count = (size_t)(__stop_probes - __start_probes);
	const struct probe **probes = malloc(count * sizeof *probes);
	if (!probes)
		return 3;
	memcpy(probes, __start_probes, count * sizeof *probes);
	qsort(probes, count, sizeof *probes, by_name);
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t n = 0; n < count; n++) {
			print_about(probes[n]);
			printf(", \"alone\": %s}\n", probes[n]->alone ? "true" : "false");
		}
		return 0;
	}
	answer = mmap(
		NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (answer == MAP_FAILED)
		return 3;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	bool all_conform = true;
	for (int word = 1; word < argc; word++) {
		bool known = false;
		for (size_t n = 0; n < count; n++) {
			if (is_chosen(probes[n], argv[word])) {
				known = true;
				all_conform &= ask(probes[n]) != DIFFERS;
			}
		}
		if (!known) {
			fprintf(stderr, "%s is not a probe\n", argv[word]);
			return 2;
		}
	}
	return all_conform ? 0 : 1;
}
