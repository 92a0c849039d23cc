/* call-programs: runs small programs of mapping and signal calls, and prints what each call
 * answered.
 *
 *     call-programs PROGRAM...
 *
 * A program is one argument: steps that are separated by `;`, of words that are separated by
 * blanks, such as `map 0 4 rw private fixed;write 2 65;fork 1;read 2`. The random programs of
 * `foothold fuzz` are the same in all guests; so are the answers, unless a kernel does something
 * differently.
 *
 * Prints {"started": N} before the program with number N, and {"program": N, "answers": [...]}
 * after it. An answer begins with the number of its step, and with the letters of forks (f),
 * threads (t) and execs (e) that led to it.
 */
#define _GNU_SOURCE
#include "interpreter.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	LIMIT_SECONDS = 3, /* of a program */
	MOST_STEPS = 64,
	MOST_PATH = 8, /* forks, threads and execs within each other */
	SHARED_FILE = 100,
	FIRST_FILE = 101,
	THREAD_STACK = 1 << 17,
	LAST_ANSWER = 128, /* bytes at the end of the answers that are kept for it */
};

struct shared *shared;

static const char *program_text; /* as it was given */
static char program_words[8192]; /* the same, cut into words */
static struct step steps[MOST_STEPS];
static int step_count;
static int next_step, end_step;  /* that this process or thread runs */
static char path[MOST_PATH + 1]; /* of this process or thread */

/* ---- answers ---- */

/* Answers that are too long are cut, but each is closed, and the last one is whole. */
static void append(const char *format, va_list arguments)
{
	int room = (int)sizeof shared->text - LAST_ANSWER - shared->length;
	if (room <= 1)
		return;
	int length = vsnprintf(shared->text + shared->length, (size_t)room, format, arguments);
	shared->length += length < room ? length : room - 1;
}

void answer(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	append(format, arguments);
	va_end(arguments);
}

/* Begin an answer. One that does not fit is left out. */
static void open_item(const char *name)
{
	if (shared->length > (int)sizeof shared->text - 2 * LAST_ANSWER)
		return;
	answer("%s\"%s%s:", shared->length ? ", " : "", name, path);
	shared->open = true;
}

static void close_item(void)
{
	if (shared->open)
		shared->text[shared->length++] = '"';
	shared->text[shared->length] = 0;
	shared->open = false;
}

void answer_result(long result)
{
	if (result == -1)
		answer(" %s", strerrorname_np(errno));
	else
		answer(" %ld", result);
}

void reject(const char *what, const char *word)
{
	fprintf(stderr, "%s: %s: %s\n", program_text, what, word);
	exit(2);
}

/* ---- words ---- */

long number(const struct step *step, int word)
{
	char *end;
	long value = strtol(step->words[word], &end, 10);
	if (end == step->words[word] || *end)
		reject("not a number", step->words[word]);
	return value;
}

long flags(const struct step *step, int word, const struct constant *table)
{
	char copy[128], *rest = copy, *name;
	long value = 0;
	snprintf(copy, sizeof copy, "%s", step->words[word]);
	while ((name = strsep(&rest, "+"))) {
		const struct constant *each = table;
		while (each->name && strcmp(each->name, name))
			each++;
		if (!each->name)
			reject("an unknown word", name);
		value |= each->value;
	}
	return value;
}

size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

char *page(const struct step *step, int word)
{
	return AREA + number(step, word) * (long)page_size();
}

const char *place(const void *address)
{
	static char text[32];
	long offset = (const char *)address - AREA;
	long size = (long)page_size();
	if (!address)
		return "null";
	if (offset < 0 || offset >= AREA_PAGES * size)
		return "elsewhere";
	snprintf(
		text, sizeof text, offset % size ? "%ld+%ld" : "%ld", offset / size, offset % size);
	return text;
}

int file_number(long file)
{
	return FIRST_FILE + (int)file;
}

/* ---- steps that run others: in a process, a thread, or after exec ---- */

static void run_steps(void);

static void enter(char letter)
{
	size_t length = strlen(path);
	if (length < MOST_PATH)
		path[length] = letter, path[length + 1] = 0;
}

/* Answer with the mappings and pages at the end of a process. */
static void finish(void)
{
	catch_signals(true);
	open_item("end");
	answer_area();
	close_item();
}

static void describe_status(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "killed by %s", signal_name(WTERMSIG(status)));
	else
		snprintf(text, size, "exit %d", WEXITSTATUS(status));
}

/* Return the end of the steps that a step runs: its word 1 is their number. */
static int end_of_block(const struct step *step)
{
	long end = next_step + number(step, 1);
	return end < end_step ? (int)end : end_step;
}

/* No handler of this thread may run, and answer, while another process or thread answers. */
static sigset_t block_all(void)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	return before;
}

static void restore_mask(const sigset_t *mask)
{
	pthread_sigmask(SIG_SETMASK, mask, NULL);
}

static void step_fork(const struct step *step)
{
	int end = end_of_block(step), status = 0;
	answer(" starts");
	close_item();
	sigset_t mask = block_all();
	pid_t child = fork();
	if (!child) {
		restore_mask(&mask);
		enter('f');
		end_step = end;
		run_steps();
		finish();
		_exit(0);
	}
	next_step = end;
	pid_t got = child;
	while (child > 0 && (got = waitpid(child, &status, __WALL)) < 0 && errno == EINTR)
		;
	close_item(); /* that of a child which was killed */
	open_item("fork");
	char text[64];
	describe_status(status, text, sizeof text);
	if (got < 0)
		answer_result(-1);
	else
		answer(" %s", text);
	restore_mask(&mask);
}

static void *run_thread(void *mask)
{
	restore_mask(mask);
	run_steps();
	return NULL;
}

static void step_thread(const struct step *step)
{
	static char stacks[MOST_PATH][THREAD_STACK] __attribute__((aligned(4096)));
	int end = end_of_block(step), outer_end = end_step;
	size_t depth = strlen(path);
	pthread_t thread;
	pthread_attr_t attributes;
	if (depth >= MOST_PATH)
		return;
	answer(" starts");
	close_item();
	enter('t');
	end_step = end;
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, stacks[depth], THREAD_STACK);
	sigset_t mask = block_all();
	int error = pthread_create(&thread, &attributes, run_thread, &mask);
	if (!error)
		pthread_join(thread, NULL);
	path[depth] = 0;
	next_step = end;
	end_step = outer_end;
	open_item("thread");
	answer(error ? " fails" : " ended");
	restore_mask(&mask);
}

static void step_exec(const struct step *step)
{
	char from[16], to[16];
	(void)step;
	answer(" starts");
	close_item();
	enter('e');
	snprintf(from, sizeof from, "%d", next_step);
	snprintf(to, sizeof to, "%d", end_step);
	execl("/proc/self/exe", "call-programs", "--resume", program_text, from, to, path, NULL);
	open_item("exec");
	answer_result(-1);
}

static const struct call own_calls[] = {
	{"fork", step_fork},
	{"thread", step_thread},
	{"exec", step_exec},
	{NULL, NULL},
};

static const struct call *find_call(const char *name)
{
	const struct call *const tables[] = {own_calls, mapping_calls, signal_calls};
	for (size_t n = 0; n < sizeof tables / sizeof *tables; n++)
		for (const struct call *each = tables[n]; each->name; each++)
			if (!strcmp(each->name, name))
				return each;
	reject("an unknown call", name);
}

static void run_steps(void)
{
	while (next_step < end_step) {
		char name[16];
		const struct step *step = &steps[next_step];
		snprintf(name, sizeof name, "%d", next_step);
		next_step++;
		open_item(name);
		find_call(step->words[0])->run(step);
		close_item();
	}
}

/* ---- one program ---- */

static void read_program(const char *text)
{
	char *rest = program_words, *one;
	program_text = text;
	snprintf(program_words, sizeof program_words, "%s", text);
	for (step_count = 0; (one = strsep(&rest, ";")); step_count++) {
		if (step_count == MOST_STEPS)
			reject("too many steps", one);
		for (int n = 0; n < MOST_WORDS; n++) {
			const char *word = strsep(&one, " ");
			steps[step_count].words[n] = word ? word : "";
		}
	}
}

static int make_file(const char *name, size_t size, int number)
{
	int file = (int)syscall(SYS_memfd_create, name, 0);
	if (file < 0 || ftruncate(file, (off_t)size) || dup2(file, number) != number) {
		perror("memfd_create");
		exit(2);
	}
	close(file);
	return number;
}

static void map_shared(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FILE, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
}

/* Each page of a file has a byte of its own. */
static void make_files(void)
{
	for (int n = 0; n < FILES; n++) {
		make_file(n ? "file1" : "file0", FILE_PAGES * page_size(), FIRST_FILE + n);
		for (int each = 0; each < FILE_PAGES; each++) {
			char value = (char)('a' + n * FILE_PAGES + each);
			if (pwrite(FIRST_FILE + n, &value, 1,
				    (off_t)((size_t)each * page_size())) != 1)
				reject("a file cannot be written", "pwrite");
		}
	}
}

static _Noreturn void run_program(const char *text)
{
	sigset_t none;
	sigemptyset(&none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	setpgid(0, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	sigprocmask(SIG_SETMASK, &none, NULL);
	read_program(text);
	make_files();
	catch_signals(true);
	end_step = step_count;
	run_steps();
	finish();
	exit(0);
}

/* Go on after exec: the arguments are the program, its next step, the last one, and the path. */
static _Noreturn void resume(char **arguments)
{
	map_shared();
	read_program(arguments[0]);
	next_step = atoi(arguments[1]);
	end_step = atoi(arguments[2]);
	snprintf(path, sizeof path, "%s", arguments[3]);
	catch_signals(false);
	run_steps();
	finish();
	exit(0);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Wait until the child has ended; tell whether it did within the limit. SIGCHLD is blocked. */
static bool await_end(pid_t child, const sigset_t *child_signal, int *status)
{
	double end = now() + LIMIT_SECONDS;
	while (waitpid(child, status, WNOHANG) != child) {
		double left = end - now();
		if (left <= 0)
			return false;
		struct timespec time = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
		sigtimedwait(child_signal, NULL, &time);
	}
	return true;
}

static void run_one(int index, const char *text, const sigset_t *child_signal)
{
	int status = 0;
	printf("{\"started\": %d}\n", index);
	fflush(stdout);
	*shared = (struct shared){0};
	pid_t child = fork();
	if (!child)
		run_program(text);
	bool ended = child > 0 && await_end(child, child_signal, &status);
	if (child > 0) {
		kill(-child, SIGKILL);
		if (!ended) {
			kill(child, SIGKILL);
			waitpid(child, NULL, 0);
		}
	}
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) /* orphans */
		;
	close_item();
	char end[LAST_ANSWER] = "fork fails";
	if (child > 0 && !ended)
		snprintf(end, sizeof end, "hangs");
	else if (child > 0)
		describe_status(status, end, sizeof end);
	printf("{\"program\": %d, \"answers\": [%s%s\"program: %s\"]}\n", index, shared->text,
		shared->length ? ", " : "", end);
	fflush(stdout);
}

int main(int count, char **arguments)
{
	sigset_t child_signal;
	if (count == 6 && !strcmp(arguments[1], "--resume"))
		resume(arguments + 2);
	make_file("answers", sizeof *shared, SHARED_FILE);
	map_shared();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&child_signal);
	sigaddset(&child_signal, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_signal, NULL);
	for (int n = 1; n < count; n++)
		run_one(n - 1, arguments[n], &child_signal);
	return 0;
}
