#define _GNU_SOURCE
#include "trace_writer.h"

#include "mman.h"
#include "output.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MOST_LINE 1024 /* bytes; a longer line is cut */

/* How the arguments of a call are written, one letter each: a address, n length, d number, x bits,
 * p protection, f flags of mmap, m flags of mremap, P path, c flags of clone, C flags of clone3 (in
 * memory). R at the end: the result is an address. */
static const struct {
	long number;
	const char *name, *form;
} forms[] = {
	{SYS_munmap, "munmap", "an"},
	{SYS_mprotect, "mprotect", "anp"},
	{SYS_mremap, "mremap", "annmaR"},
	{SYS_madvise, "madvise", "and"},
	{SYS_mincore, "mincore", "ana"},
	{SYS_brk, "brk", "aR"},
	{SYS_prlimit64, "prlimit64", "ddaa"},
	{SYS_execve, "execve", "Paa"},
	{SYS_execveat, "execveat", "dPaax"},
	{SYS_clone, "clone", "caaaa"},
	{SYS_clone3, "clone3", "Cn"},
	{SYS_exit, "exit", "d"},
	{SYS_exit_group, "exit_group", "d"},
	{SYS_mmap, MMAP_NAME, "anpfdxR"},
	{SYS_shmat, "shmat", "daxR"},
	{SYS_shmget, "shmget", "dnx"},
	{SYS_shmdt, "shmdt", "a"},
	{SYS_pkey_mprotect, "pkey_mprotect", "anpd"},
	{SYS_remap_file_pages, "remap_file_pages", "anpnx"},
	{SYS_map_shadow_stack, "map_shadow_stack", "anxR"},
	{SYS_mseal, "mseal", "anx"},
	{SYS_personality, "personality", "x"},
	{SYS_process_madvise, "process_madvise", "dandx"},
	{SYS_io_setup, "io_setup", "na"},
	{SYS_io_destroy, "io_destroy", "a"},
	{SYS_io_uring_setup, "io_uring_setup", "na"},
	{SYS_userfaultfd, "userfaultfd", "x"},
	{SYS_getrlimit, "getrlimit", "da"},
	{SYS_setrlimit, "setrlimit", "da"},
#ifdef SYS_fork
	{SYS_fork, "fork", ""},
#endif
#ifdef SYS_vfork
	{SYS_vfork, "vfork", ""},
#endif
};
#define FORMS (sizeof forms / sizeof *forms)

void trace_calls(struct call_set *calls)
{
	for (size_t i = 0; i < FORMS; i++)
		call_set_add(calls, &forms[i].number, 1);
}

struct line {
	char text[MOST_LINE];
	size_t length;
};

static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *line, const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	int length = vsnprintf(
		line->text + line->length, sizeof line->text - line->length, format, rest);
	va_end(rest);
	if (length > 0)
		line->length += (size_t)length;
	if (line->length >= sizeof line->text)
		line->length = sizeof line->text - 1;
}

static void put_line(struct line *line)
{
	put(line, "\n");
	line->text[line->length - 1] = '\n';
	send_trace(line->text, line->length);
}

struct name {
	uint64_t bit;
	const char *text;
};
static const struct name protections[] = {{PROT_READ, "PROT_READ"}, {PROT_WRITE, "PROT_WRITE"},
	{PROT_EXEC, "PROT_EXEC"}, {PROT_GROWSDOWN, "PROT_GROWSDOWN"}, {0, NULL}};
static const struct name map_flags[] = {{MAP_SHARED, "MAP_SHARED"}, {MAP_PRIVATE, "MAP_PRIVATE"},
	{MAP_FIXED, "MAP_FIXED"}, {MAP_ANONYMOUS, "MAP_ANONYMOUS"},
	{MAP_GROWSDOWN, "MAP_GROWSDOWN"}, {MAP_DENYWRITE, "MAP_DENYWRITE"},
	{MAP_EXECUTABLE, "MAP_EXECUTABLE"}, {MAP_LOCKED, "MAP_LOCKED"},
	{MAP_NORESERVE, "MAP_NORESERVE"}, {MAP_POPULATE, "MAP_POPULATE"},
	{MAP_NONBLOCK, "MAP_NONBLOCK"}, {MAP_STACK, "MAP_STACK"}, {MAP_HUGETLB, "MAP_HUGETLB"},
	{MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
	/* 0 where they do not exist: the end as well */
	{MAP_SYNC, "MAP_SYNC"}, {MAP_32BIT, "MAP_32BIT"}, {0, NULL}};
static const struct name move_flags[] = {{MREMAP_MAYMOVE, "MREMAP_MAYMOVE"},
	{MREMAP_FIXED, "MREMAP_FIXED"}, {MREMAP_DONTUNMAP, "MREMAP_DONTUNMAP"}, {0, NULL}};
static const struct name clone_flag_names[] = {{CLONE_VM, "CLONE_VM"}, {CLONE_FS, "CLONE_FS"},
	{CLONE_FILES, "CLONE_FILES"}, {CLONE_SIGHAND, "CLONE_SIGHAND"},
	{CLONE_VFORK, "CLONE_VFORK"}, {CLONE_PARENT, "CLONE_PARENT"},
	{CLONE_THREAD, "CLONE_THREAD"}, {CLONE_UNTRACED, "CLONE_UNTRACED"}, {0, NULL}};

static void put_bits(struct line *line, uint64_t bits, const struct name *names, const char *none)
{
	const char *between = "";
	for (; names->bit; names++)
		if (bits & names->bit) {
			put(line, "%s%s", between, names->text);
			bits &= ~names->bit;
			between = "|";
		}
	if (bits)
		put(line, "%s%#llx", between, (unsigned long long)bits);
	else if (!*between)
		put(line, "%s", none);
}

static void put_argument(struct line *line, char form, uint64_t value, const struct thread *thread)
{
	if (form == 'a' && !value)
		put(line, "NULL");
	else if (form == 'a' || form == 'x')
		put(line, "%#llx", (unsigned long long)value);
	else if (form == 'n')
		put(line, "%llu", (unsigned long long)value);
	else if (form == 'd')
		put(line, "%d", (int)value);
	else if (form == 'p')
		put_bits(line, value, protections, "PROT_NONE");
	else if (form == 'f')
		put_bits(line, value, map_flags, "0");
	else if (form == 'm')
		put_bits(line, value, move_flags, "0");
	else if (form == 'P')
		put(line, "\"%s\"", thread->path);
	else if (form == 'c' || form == 'C') {
		put(line, form == 'c' ? "flags=" : "{flags=");
		put_bits(line, clone_flags_of(thread->tid, &thread->requested), clone_flag_names,
			"0");
		put(line, form == 'c' ? "" : "}");
	}
}

static size_t form_of(long number)
{
	size_t at = 0;
	while (at < FORMS && forms[at].number != number)
		at++;
	return at;
}

/* Write "PID name(arguments". Returns the form of the call. */
static const char *put_call(struct line *line, const struct thread *thread)
{
	const struct call *call = &thread->requested;
	size_t at = form_of(call->number);
	if (at == FORMS) { /* a fault stops at it, but no trace lists it */
		put(line, "%d syscall_%ld(", (int)thread->tid, call->number);
		return "";
	}
	put(line, "%d %s(", (int)thread->tid, forms[at].name);
	for (int i = 0; forms[at].form[i] && forms[at].form[i] != 'R'; i++) {
		put(line, i ? ", " : "");
		put_argument(line, forms[at].form[i], call->arguments[i], thread);
	}
	return forms[at].form;
}

/* Read a string of the program and escape it for quotes. */
static void read_text(pid_t tid, uint64_t address, char *out, size_t room)
{
	size_t have = 0;
	for (;; address += sizeof(long)) {
		errno = 0;
		long word = ptrace(PTRACE_PEEKDATA, tid, (void *)(uintptr_t)address, 0);
		unsigned char bytes[sizeof word];
		memcpy(bytes, &word, sizeof word);
		for (size_t i = 0; i < sizeof word && !errno; i++) {
			unsigned char byte = bytes[i];
			if (!byte || have + 5 > room) {
				out[have] = 0;
				return;
			}
			bool plain = byte >= ' ' && byte < 127 && byte != '"' && byte != '\\';
			have += (size_t)snprintf(
				out + have, room - have, plain ? "%c" : "\\%03o", byte);
		}
		if (errno) {
			out[have] = 0;
			return;
		}
	}
}

void trace_entry(struct thread *thread)
{
	const struct call *call = &thread->requested;
	if (call->number == SYS_execve || call->number == SYS_execveat)
		read_text(thread->tid, call->arguments[call->number == SYS_execveat], thread->path,
			sizeof thread->path);
	if (call->number != SYS_exit && call->number != SYS_exit_group)
		return;
	struct line line = {.length = 0};
	put_call(&line, thread);
	put(&line, ") = ?");
	put_line(&line);
}

void trace_exit(const struct thread *thread, int64_t result, bool injected)
{
	struct line line = {.length = 0};
	if (thread->by_filter && form_of(thread->requested.number) == FORMS)
		return; /* a call that no trace lists */
	const char *form = put_call(&line, thread);
	int error = result < 0 && result >= LAST_ERROR ? (int)-result : 0;
	const char *name = error ? strerrorname_np(error) : NULL;
	if (name)
		put(&line, ") = -1 %s (%s)", name, strerror(error));
	else if (error)
		put(&line, ") = ? ERESTARTSYS (To be restarted)");
	else
		put(&line, strchr(form, 'R') ? ") = %#llx" : ") = %lld", (long long)result);
	put(&line, injected ? " (INJECTED)" : "");
	put_line(&line);
}

static const char *signal_name(int number)
{
	static char name[24];
	if (sigabbrev_np(number))
		snprintf(name, sizeof name, "SIG%s", sigabbrev_np(number));
	else
		snprintf(name, sizeof name, "SIGRT_%d", number - 32);
	return name;
}

void trace_signal(pid_t tid)
{
	siginfo_t info;
	struct line line = {.length = 0};
	if (ptrace(PTRACE_GETSIGINFO, tid, 0, &info) < 0)
		return;
	const char *name = signal_name(info.si_signo);
	put(&line, "%d --- %s {si_signo=%s, si_code=%d, ", (int)tid, name, name, info.si_code);
	if (info.si_code > 0 && info.si_signo != SIGCHLD)
		put(&line, "si_addr=%#llx} ---", (unsigned long long)(uintptr_t)info.si_addr);
	else
		put(&line, "si_pid=%d} ---", (int)info.si_pid);
	put_line(&line);
}

void trace_end(pid_t tid, int status)
{
	struct line line = {.length = 0};
	if (WIFSIGNALED(status))
		put(&line, "%d +++ killed by %s%s +++", (int)tid, signal_name(WTERMSIG(status)),
			WCOREDUMP(status) ? " (core dumped)" : "");
	else
		put(&line, "%d +++ exited with %d +++", (int)tid, WEXITSTATUS(status));
	put_line(&line);
}

void trace_attached(pid_t tid)
{
	struct line line = {.length = 0};
	put(&line, "agent: Process %d attached", (int)tid);
	put_line(&line);
}
