#define _GNU_SOURCE
#include "readiness.h"

#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOOKS 10            /* in the time that a subject has to be idle */
#define INTERVAL 100        /* milliseconds between two looks for a port, a file, or a message */
#define SAMPLE_SECONDS 0.25 /* between two samples of what it uses */
#define MOST_TICKS 1     /* of a processor, that an idle subject may use: a tick is counted whole */
#define MANY_FAULTS 1000 /* page faults between two samples */
#define TCP_LISTEN 0x0A  /* include/net/tcp_states.h */
#define MOST_INODES 64

static int number_option(unsigned *number, const char *value, unsigned most)
{
	uint64_t parsed;
	if (parse_number(value, &parsed) < 0 || !parsed || parsed > most)
		return -EINVAL;
	*number = (unsigned)parsed;
	return 2;
}

int readiness_option(struct readiness *readiness, int argc, char **argv, int at)
{
	if (!strcmp(argv[at], "--ready-notify")) {
		readiness->notify = true;
		return 1;
	}
	if (at + 1 >= argc)
		return 0;
	if (!strcmp(argv[at], "--ready-idle"))
		return number_option(&readiness->idle, argv[at + 1], 1U << 20);
	if (!strcmp(argv[at], "--ready-port"))
		return number_option(&readiness->port, argv[at + 1], UINT16_MAX);
	if (strcmp(argv[at], "--ready-file") != 0)
		return 0;
	readiness->file = argv[at + 1];
	return 2;
}

/* An abstract address, because a subject may have another root directory. */
static void open_socket(struct readiness *readiness)
{
	char name[64];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = snprintf(name, sizeof name, "@foothold/notify/%d", (int)getpid());
	memcpy(address.sun_path + 1, name + 1, (size_t)length - 1);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length);
	readiness->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (readiness->socket < 0 ||
		bind(readiness->socket, (struct sockaddr *)&address, size) < 0 ||
		setenv("NOTIFY_SOCKET", name, 1) < 0)
		die(errno, "cannot open", "the socket of NOTIFY_SOCKET");
}

void readiness_open(struct readiness *readiness)
{
	readiness->socket = -1;
	/* the clock of time stamps in file systems, which ticks more slowly than others */
	clock_gettime(CLOCK_REALTIME_COARSE, &readiness->start);
	if (readiness->notify)
		open_socket(readiness);
}

int readiness_interval(const struct readiness *readiness)
{
	if (!readiness->idle && !readiness->port && !readiness->file && !readiness->notify)
		return (int)(SAMPLE_SECONDS * 1000);
	int interval = readiness->idle ? (int)readiness->idle / LOOKS : INTERVAL;
	if (interval > INTERVAL)
		return INTERVAL;
	return interval > 1 ? interval : 1;
}

/* ---- the conditions ---- */

/* Is a line of the message READY=1? Source: sd_notify(3). */
static bool is_notified(const struct readiness *readiness)
{
	char text[4096];
	ssize_t got;
	while ((got = recv(readiness->socket, text, sizeof text - 1, 0)) > 0) {
		text[got] = 0;
		char *rest = NULL;
		for (char *line = strtok_r(text, "\n", &rest); line;
			line = strtok_r(NULL, "\n", &rest))
			if (!strcmp(line, "READY=1"))
				return true;
	}
	return false;
}

/* Was the file made or written since the start? It is looked for as the subject sees it. */
static bool is_file_there(const struct readiness *readiness, pid_t leader)
{
	char path[4200];
	struct stat found;
	const char *base = *readiness->file == '/' ? "root" : "cwd/";
	snprintf(path, sizeof path, "/proc/%d/%s%s", (int)leader, base, readiness->file);
	if (stat(path, &found) < 0)
		return false;
	const struct timespec *start = &readiness->start;
	return found.st_ctim.tv_sec > start->tv_sec ||
	       (found.st_ctim.tv_sec == start->tv_sec && found.st_ctim.tv_nsec >= start->tv_nsec);
}

/* Find the sockets that listen on the port, in a table of proc_net_tcp(5). */
static size_t find_listeners(pid_t leader, const char *table, unsigned port,
	unsigned long inodes[MOST_INODES], size_t count)
{
	char *text = read_process_file(leader, table, NULL), *rest = NULL;
	for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line && count < MOST_INODES;
		line = strtok_r(NULL, "\n", &rest)) {
		unsigned local, state;
		unsigned long inode;
		if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*u %*u %lu",
			    &local, &state, &inode) == 3 &&
			local == port && state == TCP_LISTEN)
			inodes[count++] = inode;
	}
	free(text);
	return count;
}

static bool owns_socket(pid_t pid, const unsigned long *inodes, size_t count)
{
	char path[300], target[64];
	unsigned long inode;
	bool owns = false;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *descriptors = opendir(path);
	for (struct dirent *entry; descriptors && !owns && (entry = readdir(descriptors));) {
		snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, entry->d_name);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
		if (sscanf(target, "socket:[%lu]", &inode) == 1)
			for (size_t i = 0; i < count; i++)
				owns |= inodes[i] == inode;
	}
	if (descriptors)
		closedir(descriptors);
	return owns;
}

static bool is_listening(
	const struct readiness *readiness, pid_t leader, const struct pid_list *processes)
{
	unsigned long inodes[MOST_INODES];
	size_t count = find_listeners(leader, "net/tcp", readiness->port, inodes, 0);
	count = find_listeners(leader, "net/tcp6", readiness->port, inodes, count);
	for (size_t i = 0; count && i < processes->count; i++)
		if (owns_socket(processes->pids[i], inodes, count))
			return true;
	return false;
}

static bool all_wait(const struct activity *activity)
{
	return activity->threads && activity->waiting == activity->threads;
}

/* Has it been idle for long enough? */
static bool is_idle(struct readiness *readiness, double now, bool quiet)
{
	const struct activity *seen = &readiness->all;
	bool waits = quiet && all_wait(seen) && !seen->sleeping;
	if (!waits || seen->ticks > readiness->idle_start.ticks + MOST_TICKS ||
		seen->threads != readiness->idle_start.threads || !readiness->idle_since) {
		readiness->idle_since = waits ? now : 0;
		readiness->idle_start = *seen;
		return false;
	}
	return (now - readiness->idle_since) * 1000 >= readiness->idle;
}

const char *readiness_look(
	struct readiness *readiness, pid_t leader, pid_t spared, double now, bool quiet)
{
	struct pid_list processes = {&leader, 1};
	const char *met = NULL;
	if (now - readiness->sampled >= SAMPLE_SECONDS) {
		readiness->sample = readiness->first;
		readiness->sample_switches = readiness->switches;
		readiness->switches = voluntary_switches(leader);
		readiness->sampled = now;
	}
	readiness->first = readiness->all = activity_of(&processes);
	/* to look at all processes of the machine takes longer */
	bool more = readiness->port || all_wait(&readiness->first);
	processes = more ? processes_below(spared) : (struct pid_list){NULL, 0};
	if (more)
		readiness->all = activity_of(&processes);
	if (readiness->notify && is_notified(readiness))
		met = "notify";
	else if (readiness->file && is_file_there(readiness, leader))
		met = "file";
	else if (readiness->port && is_listening(readiness, leader, &processes))
		met = "port";
	else if (readiness->idle && is_idle(readiness, now, quiet))
		met = "idle";
	pid_list_free(&processes);
	return met;
}

const char *readiness_activity(const struct readiness *readiness)
{
	const struct activity *now = &readiness->first, *before = &readiness->sample;
	if (all_wait(&readiness->all))
		return "waits";
	bool waited = readiness->switches != readiness->sample_switches;
	if (before->threads && !waited && now->faults >= before->faults + MANY_FAULTS &&
		now->resident == before->resident)
		return "faults";
	return "runs";
}
