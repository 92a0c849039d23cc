/* Start one program, watch it, and leave nothing of it behind.
 *
 * `run` speaks frames, so that a subject's output, its maps, its trace and its end can never be
 * mistaken for one another. Every frame is one letter, a length (4 bytes, little endian), that many bytes.
 *
 *   to us (stdin)     i bytes for the subject's stdin     c close the subject's stdin
 *                     m send /proc/PID/maps               k kill it
 *                     w its terminal's rows and columns, 2 bytes each, little endian
 *   from us (stdout)  s {"pid":N} it runs                 o e  its stdout, stderr
 *                     m its maps                          t what its tracer writes
 *                     l its maps as it is about to end
 *                     f text: it could not be started, or if no s came, not traced
 *                     x {"status":…} its end; f or x is always the last frame
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_OUTPUT (5 << 20) /* bytes of each output that are passed on; the harness keeps fewer */
#define PARTING 5.0 /* seconds that a tracer has to write down the end of what it traced */

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void send_end(int status, const struct rusage *usage, double wall, int outlived)
{
	char text[320];
	int length = snprintf(text, sizeof text,
		"{\"status\":%d,\"signal\":%d,\"wall\":%.6f,\"user\":%.6f,\"system\":%.6f,"
		"\"max_rss\":%lld,\"minor_faults\":%lld,\"outlived\":%d}",
		WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0, wall,
		(double)usage->ru_utime.tv_sec + (double)usage->ru_utime.tv_usec / 1e6,
		(double)usage->ru_stime.tv_sec + (double)usage->ru_stime.tv_usec / 1e6,
		(long long)usage->ru_maxrss * 1024, (long long)usage->ru_minflt, outlived);
	send_frame('x', text, (size_t)length);
}

static void send_maps(pid_t pid)
{
	char path[64];
	size_t length = 0;
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	char *maps = slurp(path, &length);
	send_frame('m', maps ? maps : "", length);
	free(maps);
}

/* Commands from the harness, reassembled from however they arrive. They are `stuck` behind what the
 * subject does not read: it must not keep us from its output. */
struct commands {
	unsigned char buffer[65536];
	size_t have;
	int stuck;
};

/* Give the subject what it takes of these bytes; the rest stays, as a shorter frame. */
static size_t give(struct commands *in, int *subject_stdin, size_t length)
{
	ssize_t taken = *subject_stdin < 0 ? (ssize_t)length : write(*subject_stdin, in->buffer + 5, length);
	if (taken < 0 && errno != EAGAIN && errno != EINTR) { /* it will never read again */
		close(*subject_stdin);
		*subject_stdin = -1;
		return 5 + length;
	}
	if (taken == (ssize_t)length)
		return 5 + length;
	in->stuck = 1;
	size_t gone = taken > 0 ? (size_t)taken : 0, rest = length - gone;
	memmove(in->buffer + 5, in->buffer + 5 + gone, in->have - 5 - gone);
	in->have -= gone;
	for (int i = 0; i < 4; i++)
		in->buffer[1 + i] = (unsigned char)(rest >> 8 * i);
	return 0;
}

/* Do what has been asked for. Returns 0 if it is nonsense. */
static int obey(struct commands *in, pid_t pid, int *subject_stdin)
{
	in->stuck = 0;
	while (in->have >= 5 && !in->stuck) {
		unsigned char *head = in->buffer;
		size_t length = head[1] | (size_t)head[2] << 8 | (size_t)head[3] << 16 | (size_t)head[4] << 24;
		if (length > sizeof in->buffer - 5)
			return 0;
		if (in->have < 5 + length)
			break;
		size_t done = 5 + length;
		if (head[0] == 'i')
			done = give(in, subject_stdin, length);
		else if (head[0] == 'c' && *subject_stdin >= 0) {
			close(*subject_stdin);
			*subject_stdin = -1;
		} else if (head[0] == 'm')
			send_maps(pid);
		else if (head[0] == 'k')
			kill(-pid, SIGKILL);
		else if (head[0] == 'w' && length == 4)
			terminal_resize(*subject_stdin, head[5] | head[6] << 8, head[7] | head[8] << 8);
		in->have -= done;
		memmove(in->buffer, in->buffer + done, in->have);
	}
	return 1;
}

/* Returns 0 when the harness has gone or speaks nonsense. */
static int hear_commands(struct commands *in, pid_t pid, int *subject_stdin)
{
	ssize_t got = read(0, in->buffer + in->have, sizeof in->buffer - in->have);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (got <= 0)
		return 0;
	in->have += (size_t)got;
	return obey(in, pid, subject_stdin);
}

/* Pass on what one of the subject's outputs has; beyond MOST_OUTPUT, read and drop it, so that the
 * subject does not wait for us. Closes it at its end. */
static void forward(char kind, int *fd)
{
	static size_t passed[2];
	static char buffer[1 << 16];
	size_t *sum = &passed[kind == 'e'];
	ssize_t got = read(*fd, buffer, *sum < MOST_OUTPUT ? CHUNK : sizeof buffer);
	if (got > 0 && *sum < MOST_OUTPUT) {
		*sum += (size_t)got;
		send_frame(kind, buffer, (size_t)got);
	} else if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
		close(*fd);
		*fd = -1;
	}
}

/* The options of `run` from argv[at] on: limits, faults, --trace STRACE (or --trace self, which is us; or
 * --trace fd:N for a program that writes its trace itself, to that descriptor), --last for its maps at its
 * end, --terminal ROWSxCOLUMNS, --plain and --timeout SECONDS (plain.c). Answers the program. */
char **run_options(struct limits *limits, struct bend *bend, struct manner *manner, int argc, char **argv, int at)
{
	for (int taken = 1; at < argc && taken > 0; at += taken) {
		taken = limits_option(limits, argc, argv, at);
		if (!taken)
			taken = bend_option(bend, argc, argv, at);
		if (!taken && !strcmp(argv[at], "--trace") && at + 1 < argc) {
			manner->strace = argv[at + 1];
			taken = 2;
		}
		if (!taken && at + 1 < argc && !strcmp(argv[at], "--terminal") &&
		    sscanf(argv[at + 1], "%hux%hu", &manner->rows, &manner->columns) == 2)
			taken = 2;
		if (!taken && at + 1 < argc && !strcmp(argv[at], "--timeout")) {
			manner->timeout = (unsigned)number(argv[at + 1]);
			taken = 2;
		}
		if (!taken && !strcmp(argv[at], "--last"))
			taken = manner->last = 1;
		if (!taken && !strcmp(argv[at], "--plain"))
			taken = manner->plain = 1;
	}
	return after_dashes(argc, argv, at);
}

/* What the child says of its own start: "+TRACER\n", then perhaps a complaint. */
struct start {
	char text[512];
	size_t have;
	double since; /* seconds of the clock; 0: not yet */
	pid_t tracer;
	const char *complaint;
};

static void hear(struct start *start, int *fd, int *last, pid_t pid)
{
	ssize_t got = last_receive(*fd, start->text + start->have, sizeof start->text - 1 - start->have, last);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		close(*fd);
		*fd = -1;
		return;
	}
	start->text[start->have += (size_t)got] = 0;
	char *end = strchr(start->text, '\n');
	if (!end)
		return;
	start->complaint = end + 1;
	if (start->since > 0)
		return;
	char text[32];
	start->tracer = atoi(start->text + 1);
	start->since = seconds();
	send_frame('s', text, (size_t)snprintf(text, sizeof text, "{\"pid\":%d}", (int)pid));
}

/* All is read, also what is dropped, so that strace does not wait for us. */
static void take_trace(int *fd)
{
	char buffer[CHUNK];
	ssize_t got = read(*fd, buffer, sizeof buffer);
	if (got > 0)
		pass_trace(buffer, (size_t)got);
	else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
		close(*fd);
		*fd = -1;
	}
}

int run_main(int argc, char **argv)
{
	struct limits limits = { .cpu = -1 };
	struct bend bend = { .occupied = 0 };
	struct manner manner = { .strace = NULL };
	char **program = run_options(&limits, &bend, &manner, argc, argv, 2);
	int in[2], out[2], err[2], report[2], trace[2], terminal = -1, last = -1;
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(trace, O_CLOEXEC) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, report))
		fail("cannot make", "pipes");
	if (manner.rows)
		terminal = terminal_make(&manner, in, out, err);
	if (manner.plain)
		plain_start();
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	/* a program has one tracer: the one that bends it tells */
	if (manner.strace && (bend_wanted(&bend) || !strcmp(manner.strace, "self"))) {
		bend.told = 1;
		bend.last = manner.last;
		manner.strace = NULL;
	}
	int signals = child_signals();
	limits_enter(&limits);
	pid_t self = getpid(), pid = fork();
	if (pid < 0)
		fail("cannot fork for", program[0]);
	if (pid == 0) {
		become_subject(self, terminal);
		dup2(in[0], 0);
		dup2(out[1], 1);
		if (manner.strace && !strncmp(manner.strace, "fd:", 3)) { /* the program itself writes what it does */
			dup2(trace[1], (int)number(manner.strace + 3));
			manner.strace = NULL;
		}
		if (manner.strace)
			become_traced(manner.strace, &limits, argv + 2, (int)(program - 1 - (argv + 2)), program,
			              trace[1], report[1], err[1]);
		become_program(&limits, &bend, 0, program, report[1], err[1]);
	}
	if (terminal < 0)
		setpgid(pid, pid);
	close(in[0]), close(out[1]), close(err[1]), close(report[1]), close(trace[1]);
	bend_start(&bend, pid);
	fcntl(report[0], F_SETFL, O_NONBLOCK); /* a tracer holds the other end as long as it lives */

	static struct commands commands;
	struct start start = { .complaint = "" };
	int status = 0, ended = 0, harness = 1, wanted = 0, more = 0;
	struct rusage usage = { 0 };
	while (!ended && harness && !wanted) {
		struct pollfd fds[8] = { { report[0], POLLIN, 0 }, { out[0], POLLIN, 0 }, { err[0], POLLIN, 0 },
		                         { trace[0], POLLIN, 0 }, { manner.plain ? -1 : 0, commands.stuck ? 0 : POLLIN, 0 },
		                         { signals, POLLIN, 0 }, { commands.stuck ? in[1] : -1, POLLOUT, 0 },
		                         { last, POLLIN, 0 } };
		double left = start.since > 0 && manner.timeout ? start.since + manner.timeout - seconds() : 1e6;
		if (poll(fds, 8, more || left <= 0 ? 0 : (int)(left * 1000) + 1) < 0)
			continue;
		if (left <= 0) {
			plain_running();
			send_maps(pid);
			kill(-pid, SIGKILL);
			manner.timeout = 0;
		}
		if (fds[0].revents) /* first: that it runs is told before what it says */
			hear(&start, &report[0], &last, pid);
		if (fds[1].revents)
			forward('o', &out[0]);
		if (fds[2].revents)
			forward('e', &err[0]);
		if (fds[3].revents)
			take_trace(&trace[0]);
		if (fds[7].revents)
			last_hear(&last, pid, fds[7].revents & POLLIN);
		if (manner.plain && plain_held()) {
			send_maps(pid);
			write_all(in[1], "\n", 1);
		}
		if (fds[6].revents)
			harness = obey(&commands, pid, &in[1]);
		else if (fds[4].revents)
			harness = commands.stuck ? 0 : hear_commands(&commands, pid, &in[1]);
		if (fds[5].revents || more)
			ended = reap(signals, pid, &bend, &status, &usage, &wanted, &more);
	}
	double end = seconds();
	int outlived = sweep(pid, ended && harness ? start.tracer : 0);
	while (harness && ended && trace[0] >= 0 && seconds() < end + PARTING) {
		struct pollfd rest = { trace[0], POLLIN, 0 };
		if (poll(&rest, 1, 100) > 0)
			take_trace(&trace[0]);
	}
	if (start.tracer)
		sweep(pid, 0);
	limits_leave(&limits);
	if (harness)
		flush_trace();
	while (harness && out[0] >= 0) /* all writers are dead: what is in the pipes is the rest */
		forward('o', &out[0]);
	while (harness && err[0] >= 0)
		forward('e', &err[0]);
	if (report[0] >= 0)
		hear(&start, &report[0], &last, pid);
	if (!ended || !harness)
		return EXIT_AGENT;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (*bend.complaint)
		start.complaint = bend.complaint;
	if (start.since > 0 && !*start.complaint)
		send_end(status, &usage, end - start.since, outlived);
	else
		send_frame('f', start.complaint, strlen(start.complaint)), code = EXIT_AGENT;
	return manner.plain ? code : 0;
}
