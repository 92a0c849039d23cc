#define _GNU_SOURCE
#include "process_state.h"

#include "util.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool pid_list_has(const struct pid_list *list, pid_t pid)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->pids[i] == pid)
			return true;
	return false;
}

void pid_list_add(struct pid_list *list, pid_t pid)
{
	list->pids = grow(list->pids, list->count, sizeof *list->pids);
	list->pids[list->count++] = pid;
}

void pid_list_free(struct pid_list *list)
{
	free(list->pids);
	*list = (struct pid_list){NULL, 0};
}

/* Parse a stat file of proc(5). Returns its parent, or 0 if there is no such process. */
static pid_t parse_stat(const char *path, struct thread_state *thread)
{
	char *text = read_file(path, NULL);
	/* the name in parentheses may contain any character: the fields begin after the last ")" */
	char *fields = text ? strrchr(text, ')') : NULL;
	unsigned long long faults, user, system, resident;
	int parent = 0;
	bool read = fields &&
		    sscanf(fields + 1,
			    " %c %d %*d %*d %*d %*d %*u %llu %*u %*u %*u %llu %llu %*d %*d %*d %*d "
			    "%*d %*d %*u %*u %llu",
			    &thread->state, &parent, &faults, &user, &system, &resident) == 6;
	free(text);
	if (!read)
		return 0;
	thread->faults = faults;
	thread->ticks = user + system;
	thread->resident = resident;
	return parent;
}

/* A process and its parent. */
struct family {
	pid_t pid, parent;
};

static size_t read_families(struct family **families)
{
	size_t count = 0;
	DIR *proc = opendir("/proc");
	*families = NULL;
	for (struct dirent *entry; proc && (entry = readdir(proc));) {
		char path[64];
		struct thread_state state;
		pid_t pid = atoi(entry->d_name);
		if (pid <= 0)
			continue;
		snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
		pid_t parent = parse_stat(path, &state);
		if (parent <= 0)
			continue;
		*families = grow(*families, count, sizeof **families);
		(*families)[count++] = (struct family){pid, parent};
	}
	if (proc)
		closedir(proc);
	return count;
}

struct pid_list processes_below(pid_t spared)
{
	struct family *families;
	struct pid_list found = {NULL, 0};
	size_t count = read_families(&families), before;
	pid_t agent = getpid();
	do { /* a child may have a lower number than its parent */
		before = found.count;
		for (size_t i = 0; i < count; i++) {
			pid_t pid = families[i].pid, parent = families[i].parent;
			bool below = parent == agent || pid_list_has(&found, parent);
			if (below && pid != spared && !pid_list_has(&found, pid))
				pid_list_add(&found, pid);
		}
	} while (found.count > before);
	free(families);
	return found;
}

void visit_threads(pid_t pid, thread_visitor *visitor, void *context)
{
	char path[96];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		struct thread_state thread = {.pid = pid, .tid = atoi(entry->d_name)};
		if (thread.tid <= 0)
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)thread.tid);
		if (parse_stat(path, &thread))
			visitor(context, &thread);
	}
	if (tasks)
		closedir(tasks);
}

/* Calls in which a program waits: their names are shown. */
static const struct {
	long number;
	const char *name;
} waits[] = {
#ifdef SYS_poll
	{SYS_poll, "poll"},
#endif
#ifdef SYS_select
	{SYS_select, "select"},
#endif
#ifdef SYS_epoll_wait
	{SYS_epoll_wait, "epoll_wait"},
#endif
#ifdef SYS_pause
	{SYS_pause, "pause"},
#endif
#ifdef SYS_accept
	{SYS_accept, "accept"},
#endif
#ifdef SYS_recvfrom
	{SYS_recvfrom, "recvfrom"},
#endif
	{SYS_ppoll, "ppoll"},
	{SYS_pselect6, "pselect6"},
	{SYS_epoll_pwait, "epoll_pwait"},
	{SYS_accept4, "accept4"},
	{SYS_recvmsg, "recvmsg"},
	{SYS_futex, "futex"},
	{SYS_rt_sigtimedwait, "rt_sigtimedwait"},
	{SYS_rt_sigsuspend, "rt_sigsuspend"},
	{SYS_wait4, "wait4"},
	{SYS_waitid, "waitid"},
	{SYS_read, "read"},
	{SYS_write, "write"},
	{SYS_nanosleep, "nanosleep"},
	{SYS_clock_nanosleep, "clock_nanosleep"},
};

/* Read /proc/PID/task/TID/NAME. */
static char *read_thread_file(const struct thread_state *thread, const char *name)
{
	char path[96];
	snprintf(
		path, sizeof path, "/proc/%d/task/%d/%s", (int)thread->pid, (int)thread->tid, name);
	return read_file(path, NULL);
}

static bool name_by_number(const struct thread_state *thread, char name[32])
{
	long number;
	char *text = read_thread_file(thread, "syscall");
	bool known = text && sscanf(text, "%ld", &number) == 1;
	free(text);
	if (!known)
		return false;
	snprintf(name, 32, "call %ld", number);
	for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
		if (waits[i].number == number)
			snprintf(name, 32, "%s", waits[i].name);
	return true;
}

/* A line of the stack is "[<0>] sys_poll+0x1/0x2", with the prefix of the architecture. */
static bool name_by_stack(const struct thread_state *thread, char name[32])
{
	char *text = read_thread_file(thread, "stack");
	char *call = text ? strstr(text, "sys_") : NULL;
	bool known = call && sscanf(call, "sys_%31[a-z0-9_]", name) == 1;
	free(text);
	return known;
}

/* Name the call in which a thread is blocked. A User-Mode Linux kernel before 6.13 does not show
 * its number, but shows the stack to root. */
static void read_call(const struct thread_state *thread, char name[32])
{
	if (name_by_number(thread, name) || name_by_stack(thread, name))
		return;
	char *text = read_thread_file(thread, "wchan");
	snprintf(name, 32, "%.31s", text && *text && strcmp(text, "0") != 0 ? text : "a call");
	free(text);
}

uint64_t voluntary_switches(pid_t pid)
{
	char *text = read_process_file(pid, "status", NULL);
	uint64_t switches = number_after(text, "\nvoluntary_ctxt_switches:");
	free(text);
	return switches;
}

static void append_name(char *names, size_t room, const char *name)
{
	size_t length = strlen(names), more = strlen(name);
	if (strstr(names, name) || length + more + 3 > room)
		return;
	snprintf(names + length, room - length, "%s%s", length ? ", " : "", name);
}

static void add_thread(void *context, const struct thread_state *thread)
{
	struct activity *activity = context;
	char call[32];
	if (thread->state == 'Z' || thread->state == 'X')
		return;
	activity->threads++;
	activity->ticks += thread->ticks;
	activity->faults += thread->faults;
	if (thread->pid == thread->tid)
		activity->resident += thread->resident;
	if (thread->state != 'S')
		return;
	read_call(thread, call);
	append_name(activity->calls, sizeof activity->calls, call);
	activity->waiting++;
	activity->sleeping += thread->pid == thread->tid && strstr(call, "nanosleep");
}

struct activity activity_of(const struct pid_list *processes)
{
	struct activity activity = {.threads = 0};
	for (size_t i = 0; i < processes->count; i++)
		visit_threads(processes->pids[i], add_thread, &activity);
	return activity;
}
