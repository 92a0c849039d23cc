/* Writes what gcov counts, one line a source file: the name of the file of counters, and its
 * content in hexadecimal digits. tests/agent/coverage.py reads these lines.
 *
 * They go to a file in the directory COUNTS. A guest with a kernel of its own has no such
 * directory: they go to its console, which the harness records. A process that has neither writes
 * nothing. */
#undef _exit
#undef reboot

#include <fcntl.h>
#include <gcov.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#define FIRST_DESCRIPTOR 400 /* above those that the agent is given */
#define COUNTER_TAG 0x01a10000
#define MOST_WORDS 64
#define MOST_ZEROS 20
#define PIECE 1000

extern noreturn void _exit(int status);
extern const struct gcov_info *const __start_counters[], *const __stop_counters[];

noreturn void exit_with_counters(int status);
int reboot_with_counters(int how);

static int target = -1;
static bool is_console;
static unsigned char content[1 << 16];
static unsigned int length;
static char line[3 * sizeof content];

static void put_name(const char *name, void *ignored)
{
	(void)ignored;
	snprintf(line, sizeof line, "@counters %s ", name);
}

static void put_content(const void *data, unsigned int size, void *ignored)
{
	(void)ignored;
	if (length + size > sizeof content)
		abort();
	memcpy(content + length, data, size);
	length += size;
}

/* Whether a function has a counter that is not 0: a negative length stands for counters of 0. */
static bool has_counted(void)
{
	unsigned int tag;
	int size;
	for (unsigned int at = 16; at + 8 <= length;
		at += 8 + (size > 0 ? (unsigned int)size : 0)) {
		memcpy(&tag, content + at, sizeof tag);
		memcpy(&size, content + at + 4, sizeof size);
		if (tag == COUNTER_TAG && size > 0)
			return true;
	}
	return false;
}

/* Write the content behind the first `end` bytes of the line; returns where it ends. */
static size_t encode(size_t end)
{
	for (unsigned int at = 0; at < length;) {
		unsigned int zeros = 0;
		while (zeros < MOST_ZEROS && at + zeros < length && !content[at + zeros])
			zeros++;
		if (zeros)
			line[end++] = (char)('g' + zeros - 1);
		else
			end += (size_t)sprintf(line + end, "%02x", content[at]);
		at += zeros ? zeros : 1;
	}
	return end;
}

/* The console of a UML guest stalls for ever with 4,095 bytes that the host has not read. */
static void write_line(size_t end)
{
	struct timespec nap = {0, 5000000};
	for (size_t at = 0; at < end;) {
		size_t rest = end - at, size = is_console && rest > PIECE ? PIECE : rest;
		ssize_t done = write(target, line + at, size);
		if (done < 0)
			return;
		at += (size_t)done;
		if (is_console)
			nanosleep(&nap, NULL);
	}
}

static void write_counters(void)
{
	const struct gcov_info *const *info = __start_counters;
	__asm__("" : "+r"(info)); /* the linker defines the section: it is not one object */
	for (; target >= 0 && info != __stop_counters; info++) {
		length = 0;
		__gcov_info_to_gcda(*info, put_name, put_content, NULL, NULL);
		if (!has_counted())
			continue;
		size_t end = encode(strlen(line));
		line[end++] = '\n';
		write_line(end);
	}
}

__attribute__((constructor)) static void open_target(void)
{
	char path[256];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(path, sizeof path, "%s/%d-%ld%09ld.counters", COUNTS, (int)getpid(),
		(long)now.tv_sec, now.tv_nsec);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	is_console = fd < 0;
	if (is_console)
		fd = getpid() == 1 ? dup(STDERR_FILENO)
				   : open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	target = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR);
	if (target >= 0)
		close(fd);
	else
		target = fd;
}

__attribute__((destructor)) static void write_at_exit(void)
{
	write_counters();
}

noreturn void exit_with_counters(int status)
{
	write_counters();
	_exit(status);
}

int reboot_with_counters(int how)
{
	write_counters();
	return reboot(how);
}

/* gcc compiles calls of these functions to calls of libgcov's, for which those below stand in. It
 * leaves a call through a pointer alone. */
static pid_t (*volatile real_fork)(void) = fork;
static int (*volatile real_execv)(const char *, char *const *) = execv;
static int (*volatile real_execvp)(const char *, char *const *) = execvp;

pid_t __gcov_fork(void);
int __gcov_execv(const char *path, char *const *argv);
int __gcov_execvp(const char *path, char *const *argv);
int __gcov_execl(const char *path, char *word, ...);

pid_t __gcov_fork(void)
{
	write_counters();
	return real_fork();
}

int __gcov_execv(const char *path, char *const *argv)
{
	write_counters();
	return real_execv(path, argv);
}

int __gcov_execvp(const char *path, char *const *argv)
{
	write_counters();
	return real_execvp(path, argv);
}

int __gcov_execl(const char *path, char *word, ...)
{
	char *words[MOST_WORDS] = {word};
	va_list more;
	va_start(more, word);
	for (int i = 0; words[i] && i + 1 < MOST_WORDS; i++)
		words[i + 1] = va_arg(more, char *);
	va_end(more);
	write_counters();
	return real_execv(path, words);
}
