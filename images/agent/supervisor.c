#define _GNU_SOURCE
#include "supervisor.h"

#include "account.h"
#include "arguments.h"
#include "exit_maps.h"
#include "guest_state.h"
#include "output.h"
#include "process_state.h"
#include "process_tree.h"
#include "protection.h"
#include "readiness.h"
#include "strace_exec.h"
#include "text_output.h"
#include "util.h"
#include "work_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_OUTPUT (5 << 20) /* bytes of each output that are sent; the harness keeps fewer */
#define DRAIN_SECONDS 5.0     /* for strace to write the end of its trace */
#define STOP_SECONDS 1.0      /* for all threads of a subject to stop */
#define FOREVER 1e6           /* seconds */

/* An output of the subject. */
struct stream {
	enum frame_kind kind;
	int fd; /* -1: closed */
	size_t sent;
};

/* What the child reports before its exec: "+TRACER\n", then perhaps a complaint. */
struct start_report {
	int socket; /* -1: closed */
	char text[512];
	size_t filled;
	double time; /* seconds of the clock at the first line; 0: not yet */
	pid_t tracer;
	const char *complaint;
};

/* The threads that strace reports as stopped: "TID --- stopped by SIGSTOP ---". */
struct stop_lines {
	char line[64]; /* the beginning of the current line */
	size_t filled;
	struct pid_list threads;
};

struct supervisor {
	struct run_options options;
	const char *strace; /* the path of strace; NULL: it is not used */
	const char *fifo;   /* into which the program itself writes the trace; NULL: it does not */
	uid_t fifo_owner;   /* who opens it: the user that the program becomes */
	int fifo_writer;    /* keeps the FIFO open until the program has opened it; -1: closed */
	char **program;
	struct tracer tracer;
	struct process_tree tree;
	struct start_report report;
	struct stream output, error;
	int input; /* standard input of the subject; -1: closed */
	bool input_full;
	int trace;           /* what the tracer writes; -1: closed */
	int exit_filter;     /* its listener; -1: none */
	char work[PATH_MAX]; /* where what it writes is kept, as the agent sees it; empty: nowhere
			      */
	struct frame_reader commands;
	bool harness_gone; /* or it sends nonsense */
	bool stopped;      /* the subject was stopped, and killed */
	double next_look;  /* seconds of the clock */
	int taint;         /* of the kernel, before the subject started */
	size_t traced;     /* bytes of trace that were read */
	size_t seen;       /* bytes of output and trace at the last look */
	struct stop_lines stop_lines;
};

/* The other ends of the channels, for the child. */
struct child_ends {
	int input, output, error, report, trace, terminal;
};

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double timeval_seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void close_end(int *fd)
{
	close(*fd);
	*fd = -1;
}

/* Did a read or write fail for good, or may it be tried again? */
static bool is_final(int error)
{
	return error != EINTR && error != EAGAIN;
}

static void stop_subject(struct supervisor *supervisor, const char *reason);
static void leave_fifo(struct supervisor *supervisor);

/* ---- commands of the harness ---- */

/* Pass bytes to the subject. Returns false if it does not take them all now; the rest stays the
 * first frame, and the agent must not block: the subject may be waiting for its output to be read.
 */
static bool pass_input(struct supervisor *supervisor, const struct frame *frame)
{
	if (supervisor->input < 0)
		return true;
	ssize_t taken = write(supervisor->input, frame->payload, frame->length);
	if (taken == (ssize_t)frame->length)
		return true;
	if (taken < 0 && is_final(errno)) { /* it will never read again */
		close_end(&supervisor->input);
		return true;
	}
	if (taken > 0)
		frame_shorten(&supervisor->commands, (size_t)taken);
	supervisor->input_full = true;
	return false;
}

static void resize(struct supervisor *supervisor, const struct frame *frame)
{
	const unsigned char *size = frame->payload;
	if (frame->length != 4)
		return;
	terminal_resize(
		supervisor->input, (struct terminal_size){(unsigned short)(size[0] | size[1] << 8),
					   (unsigned short)(size[2] | size[3] << 8)});
}

/* Returns false if the frame has to be tried again later. */
static bool execute(struct supervisor *supervisor, const struct frame *frame)
{
	pid_t leader = supervisor->tree.leader;
	switch (frame->kind) {
	case FRAME_INPUT:
		return pass_input(supervisor, frame);
	case FRAME_CLOSE_INPUT:
		if (supervisor->input >= 0)
			close_end(&supervisor->input);
		break;
	case FRAME_MAPS:
		send_maps(FRAME_MAPS, leader);
		break;
	case FRAME_STOP:
		stop_subject(supervisor, "request");
		break;
	case FRAME_RESIZE:
		resize(supervisor, frame);
		break;
	default: /* of a newer harness */
		break;
	}
	return true;
}

static void execute_commands(struct supervisor *supervisor)
{
	struct frame frame;
	int found = 0;
	supervisor->input_full = false;
	while (!supervisor->input_full && (found = frame_first(&supervisor->commands, &frame)) > 0)
		if (execute(supervisor, &frame))
			frame_remove(&supervisor->commands);
	if (found < 0)
		supervisor->harness_gone = true;
}

static void read_commands(struct supervisor *supervisor)
{
	struct frame_reader *reader = &supervisor->commands;
	ssize_t got = read(STDIN_FILENO, reader->buffer + reader->filled,
		sizeof reader->buffer - reader->filled);
	if (got < 0 && !is_final(errno))
		return;
	if (got <= 0) {
		supervisor->harness_gone = true;
		return;
	}
	reader->filled += (size_t)got;
	execute_commands(supervisor);
}

/* ---- what comes from the subject ---- */

/* Send what an output has. Beyond MOST_OUTPUT it is read and dropped, so that the subject does not
 * wait for the agent. */
static void forward(struct stream *stream)
{
	static char buffer[1 << 16];
	bool wanted = stream->sent < MOST_OUTPUT;
	ssize_t got = read(stream->fd, buffer, wanted ? CHUNK : sizeof buffer);
	if (got > 0 && wanted) {
		stream->sent += (size_t)got;
		send_frame(stream->kind, buffer, (size_t)got);
	} else if (got == 0 || (got < 0 && is_final(errno))) {
		close_end(&stream->fd);
	}
}

static void find_stop_lines(struct stop_lines *lines, const char *text, size_t length)
{
	int tid, end;
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '\n') {
			if (lines->filled < sizeof lines->line - 1)
				lines->line[lines->filled++] = text[i];
			continue;
		}
		lines->line[lines->filled] = 0;
		lines->filled = 0;
		end = 0;
		if (sscanf(lines->line, "%d --- stopped by SIGSTOP ---%n", &tid, &end) == 1 && end)
			pid_list_add(&lines->threads, tid);
	}
}

/* Everything is read, also what is dropped, so that strace does not wait for the agent. */
static void forward_trace(struct supervisor *supervisor)
{
	char buffer[CHUNK];
	ssize_t got = read(supervisor->trace, buffer, sizeof buffer);
	if (got > 0) {
		leave_fifo(supervisor);
		find_stop_lines(&supervisor->stop_lines, buffer, (size_t)got);
		supervisor->traced += (size_t)got;
		send_trace(buffer, (size_t)got);
	} else if (got == 0 || is_final(errno))
		close_end(&supervisor->trace);
}

/* Seconds between two looks at the subject. */
static double look_interval(const struct supervisor *supervisor)
{
	return readiness_interval(&supervisor->options.readiness) / 1000.0;
}

static void read_report(struct supervisor *supervisor)
{
	struct start_report *report = &supervisor->report;
	ssize_t got = exit_filter_receive(report->socket, report->text + report->filled,
		sizeof report->text - 1 - report->filled, &supervisor->exit_filter);
	if (got < 0 && !is_final((int)-got))
		return;
	if (got <= 0) {
		close_end(&report->socket);
		return;
	}
	report->filled += (size_t)got;
	report->text[report->filled] = 0;
	char *end = strchr(report->text, '\n');
	if (!end)
		return;
	report->complaint = end + 1;
	if (report->time > 0)
		return;
	char text[64];
	report->tracer = atoi(report->text + 1);
	report->time = seconds();
	supervisor->next_look = report->time + look_interval(supervisor);
	int length = snprintf(text, sizeof text, "{\"pid\":%d,\"page_size\":%ld}",
		(int)supervisor->tree.leader, sysconf(_SC_PAGESIZE));
	send_frame(FRAME_STARTED, text, (size_t)length);
}

static int kernel_taint(void)
{
	char *text = read_file("/proc/sys/kernel/tainted", NULL);
	int taint = text ? atoi(text) : 0;
	free(text);
	return taint;
}

/* ---- the start ---- */

static void make_pipe(int *read_end, int *write_end)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		die(errno, "cannot make", "a pipe");
	*read_end = ends[0];
	*write_end = ends[1];
}

static int duplicate(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		die(errno, "cannot duplicate", "a descriptor");
	return copy;
}

/* A terminal has one output; there is nothing to read as standard error. */
static void open_terminal(struct supervisor *supervisor, struct child_ends *ends)
{
	int ours, theirs, error = terminal_open(supervisor->options.terminal, &ours, &theirs);
	if (error)
		die(-error, "cannot make", "a terminal");
	supervisor->input = ours;
	fcntl(ours, F_SETFL, O_NONBLOCK);
	supervisor->output.fd = duplicate(ours);
	supervisor->error.fd = -1;
	ends->terminal = ends->input = theirs;
	ends->output = duplicate(theirs);
	ends->error = duplicate(theirs);
}

/* Standard input of the subject: a file, or a pipe of the harness. */
static void open_input(struct supervisor *supervisor, struct child_ends *ends)
{
	const char *file = supervisor->options.input;
	if (!file) {
		make_pipe(&ends->input, &supervisor->input);
		fcntl(supervisor->input, F_SETFL, O_NONBLOCK);
		return;
	}
	ends->input = open(file, O_RDONLY | O_CLOEXEC);
	if (ends->input < 0)
		die(errno, "cannot open", file);
}

/* The reader comes first: it does not wait for a writer. */
static void make_fifo(struct supervisor *supervisor, struct child_ends *ends)
{
	const char *path = supervisor->fifo;
	if (mkfifo(path, 0600) < 0)
		die(errno, "cannot make the FIFO", path);
	supervisor->trace = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	supervisor->fifo_writer = open(path, O_WRONLY | O_CLOEXEC);
	if (supervisor->trace < 0 || supervisor->fifo_writer < 0)
		die(errno, "cannot open the FIFO", path);
	if (supervisor->options.limits.user &&
		fchown(supervisor->trace, supervisor->fifo_owner, (gid_t)-1) < 0)
		die(errno, "cannot give away the FIFO", path);
	ends->trace = duplicate(supervisor->fifo_writer);
}

/* The program has opened the FIFO, or never will. */
static void leave_fifo(struct supervisor *supervisor)
{
	if (!supervisor->fifo || supervisor->fifo_writer < 0)
		return;
	unlink(supervisor->fifo);
	close_end(&supervisor->fifo_writer);
}

static void open_channels(struct supervisor *supervisor, struct child_ends *ends)
{
	int report[2];
	ends->terminal = -1;
	if (supervisor->options.terminal.rows) {
		open_terminal(supervisor, ends);
	} else {
		open_input(supervisor, ends);
		make_pipe(&supervisor->output.fd, &ends->output);
		make_pipe(&supervisor->error.fd, &ends->error);
	}
	if (supervisor->fifo)
		make_fifo(supervisor, ends);
	else
		make_pipe(&supervisor->trace, &ends->trace);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, report) < 0)
		die(errno, "cannot make", "a socket pair");
	supervisor->report.socket = report[0];
	ends->report = report[1];
	/* a tracer may hold the other end as long as it lives */
	fcntl(supervisor->report.socket, F_SETFL, O_NONBLOCK);
}

static void close_child_ends(const struct child_ends *ends)
{
	close(ends->input);
	close(ends->output);
	close(ends->error);
	close(ends->report);
	close(ends->trace);
}

/* Make the home of the user, if the root of the subject is ours and lacks it. */
static void make_home(const char *root, const struct account *account)
{
	char home[PATH_MAX + 64];
	snprintf(home, sizeof home, "%s%s", root, account->home);
	if (*root && *account->home == '/' && mkdir(home, 0700) == 0 &&
		chown(home, account->uid, account->gid) < 0)
		die(errno, "cannot give away", home);
}

/* Say why nothing is started, and exit. */
static noreturn void refuse(
	const struct supervisor *supervisor, enum frame_kind kind, const char *text)
{
	send_frame(kind, text, strlen(text));
	exit(supervisor->options.text ? EXIT_AGENT : 0);
}

/* Make the root of the subject and its working directory. */
static void make_place(struct supervisor *supervisor)
{
	const struct run_options *options = &supervisor->options;
	const char *root = options->root.place ? options->root.place : "", *step;
	struct account account = {.uid = getuid(), .gid = getgid()};
	int error;
	if (options->root.place) {
		error = subject_root_make(&options->root, &step);
		if (error)
			die(-error, "cannot make the root of the subject:", step);
		output_set_root(root);
	}
	if (options->limits.user) {
		if (account_find(root, options->limits.user, &account) < 0)
			refuse(supervisor, FRAME_UNKNOWN_USER, options->limits.user);
		make_home(root, &account);
		supervisor->fifo_owner = account.uid;
	}
	if (options->written)
		snprintf(supervisor->work, sizeof supervisor->work, "%s", options->written);
	if (!options->work)
		return;
	error = subject_root_check();
	if (error)
		die(-error, "cannot make, outside of a guest, the working directory",
			options->work);
	snprintf(supervisor->work, sizeof supervisor->work, "%s%s", root, options->work);
	error = work_directory_make(
		supervisor->work, options->work_files, account.uid, account.gid);
	if (error)
		die(-error, "cannot make the working directory", options->work);
}

/* Who traces the subject: strace, the agent, the program itself, or nothing. */
static void choose_tracer(struct supervisor *supervisor)
{
	struct run_options *options = &supervisor->options;
	const char *trace = options->trace;
	supervisor->tracer.faults = options->faults;
	options->faults = (struct faults){.occupied = NULL};
	if (!trace)
		return;
	bool by_agent = !strcmp(trace, TRACE_SELF);
	if (strncmp(trace, TRACE_OWN, strlen(TRACE_OWN)) != 0 && !options->trace_files)
		by_agent |= !can_weaken_subject();
	/* a program has one tracer: the one that brings about the faults */
	if (faults_any(&supervisor->tracer.faults) || by_agent) {
		supervisor->tracer.writes_trace = true;
		supervisor->tracer.sends_exit_maps = options->exit_maps;
	} else if (!strncmp(trace, TRACE_OWN, strlen(TRACE_OWN))) {
		supervisor->fifo = trace + strlen(TRACE_OWN);
	} else {
		supervisor->strace = trace;
	}
}

/* In the child. OPTIONS are the words between `run` and "--". */
static noreturn void become_program(
	const struct supervisor *supervisor, const struct child_ends *ends, char **options)
{
	struct child child = {
		.limits = &supervisor->options.limits,
		.tracer = &supervisor->tracer,
		.trace_files = supervisor->options.trace_files,
		.program = supervisor->program,
		.report = ends->report,
		.error = ends->error,
	};
	dup2(ends->input, STDIN_FILENO);
	dup2(ends->output, STDOUT_FILENO);
	if (supervisor->strace)
		become_strace(&child, supervisor->strace, options,
			(int)(supervisor->program - 1 - options), ends->trace);
	become_subject(&child);
}

/* Apply the limits of the whole guest, or say which one it refuses and exit. */
static void enter_limits(struct supervisor *supervisor)
{
	char refused[512];
	if (limits_enter(&supervisor->options.limits, refused, sizeof refused))
		refuse(supervisor, FRAME_REFUSED, refused);
}

static void start(struct supervisor *supervisor, char **options)
{
	struct child_ends ends;
	open_channels(supervisor, &ends);
	readiness_open(&supervisor->options.readiness);
	supervisor->taint = kernel_taint();
	process_tree_open(&supervisor->tree);
	if (supervisor->options.guest_state_before)
		guest_state_send("before");
	enter_limits(supervisor);
	if (supervisor->options.guest_state)
		guest_state_begin_watch();
	/* a tracer attaches to a child that is dumpable; the child waits for that */
	bool attaches = tracer_needed(&supervisor->tracer);
	if (!attaches)
		protect_process();
	pid_t pid = process_tree_fork(&supervisor->tree, ends.terminal, -1);
	if (pid < 0)
		die(-pid, "cannot fork for", supervisor->program[0]);
	if (pid == 0)
		become_program(supervisor, &ends, options);
	if (attaches)
		protect_process();
	close_child_ends(&ends);
	tracer_attach(&supervisor->tracer, pid);
}

/* ---- the run ---- */

/* What the supervisor waits for. */
enum slot { REPORT, OUTPUT, ERROR, TRACE, COMMANDS, INPUT, SIGNALS, EXIT_FILTER, SLOTS };

/* Seconds until the subject has run as long as it may. */
static double time_left(const struct supervisor *supervisor)
{
	double started = supervisor->report.time;
	if (started <= 0 || !supervisor->options.timeout || supervisor->stopped)
		return FOREVER;
	return started + supervisor->options.timeout - seconds();
}

/* Seconds until the next look at the subject. */
static double time_to_look(const struct supervisor *supervisor)
{
	if (supervisor->report.time <= 0 || supervisor->stopped)
		return FOREVER;
	return supervisor->next_look - seconds();
}

/* Wait for events, at most until the timeout. Returns false if a signal came instead. */
static bool wait_for_events(const struct supervisor *supervisor, struct pollfd slots[SLOTS])
{
	bool text = supervisor->options.text, full = supervisor->input_full;
	double left = time_left(supervisor), look = time_to_look(supervisor);
	slots[REPORT] = (struct pollfd){supervisor->report.socket, POLLIN, 0};
	slots[OUTPUT] = (struct pollfd){supervisor->output.fd, POLLIN, 0};
	slots[ERROR] = (struct pollfd){supervisor->error.fd, POLLIN, 0};
	slots[TRACE] = (struct pollfd){supervisor->trace, POLLIN, 0};
	/* while the input is full no commands are read, but a hang-up is noticed */
	slots[COMMANDS] = (struct pollfd){text ? -1 : STDIN_FILENO, full ? 0 : POLLIN, 0};
	slots[INPUT] = (struct pollfd){full ? supervisor->input : -1, POLLOUT, 0};
	slots[SIGNALS] = (struct pollfd){supervisor->tree.signals, POLLIN, 0};
	slots[EXIT_FILTER] = (struct pollfd){supervisor->exit_filter, POLLIN, 0};
	if (look < left)
		left = look;
	int milliseconds = supervisor->tree.more || left <= 0 ? 0 : (int)(left * 1000) + 1;
	return poll(slots, SLOTS, milliseconds) >= 0;
}

static void handle_exit_filter(struct supervisor *supervisor, short events)
{
	if (events & POLLIN)
		exit_filter_answer(supervisor->exit_filter, supervisor->tree.leader);
	else /* no process is left that has the filter */
		close_end(&supervisor->exit_filter);
}

/* Without a harness the agent itself lets the subject continue at a checkpoint. */
static void answer_checkpoint(struct supervisor *supervisor)
{
	send_maps(FRAME_MAPS, supervisor->tree.leader);
	write_all(supervisor->input, "\n", 1);
}

static void handle_commands(struct supervisor *supervisor, const struct pollfd slots[SLOTS])
{
	if (slots[INPUT].revents)
		execute_commands(supervisor);
	else if (slots[COMMANDS].revents && supervisor->input_full)
		supervisor->harness_gone = true;
	else if (slots[COMMANDS].revents)
		read_commands(supervisor);
}

static bool handle_status(void *context, pid_t pid, int status)
{
	struct supervisor *supervisor = context;
	return tracer_handle(&supervisor->tracer, pid, status);
}

/* ---- the subject is ready, or its time is over ---- */

/* Has this thread stopped, and made its last call? A thread that is traced stops at calls as well
 * (state t), and then goes on. */
static bool has_stopped(const struct supervisor *supervisor, const struct thread_state *thread)
{
	if (strchr("TZXx", thread->state))
		return true;
	return thread->state == 't' &&
	       (tracer_has_stopped(&supervisor->tracer, thread->tid) ||
		       pid_list_has(&supervisor->stop_lines.threads, thread->tid));
}

struct stop_round {
	const struct supervisor *supervisor;
	unsigned running; /* threads that have not stopped */
};

static void count_running(void *context, const struct thread_state *thread)
{
	struct stop_round *round = context;
	round->running += !has_stopped(round->supervisor, thread);
}

/* Send SIGSTOP to all processes that did not get it yet. Returns how many threads still run. */
static unsigned stop_processes(const struct supervisor *supervisor, struct pid_list *signalled)
{
	struct stop_round round = {supervisor, 0};
	struct pid_list processes = processes_below(supervisor->report.tracer);
	for (size_t i = 0; i < processes.count; i++) {
		pid_t pid = processes.pids[i];
		if (!pid_list_has(signalled, pid)) {
			kill(pid, SIGSTOP);
			pid_list_add(signalled, pid);
		}
		visit_threads(pid, count_running, &round);
	}
	pid_list_free(&processes);
	return round.running;
}

/* Read what a tracer has written. Returns false if there is nothing more now. */
static bool read_trace(struct supervisor *supervisor, int milliseconds)
{
	struct pollfd trace = {supervisor->trace, POLLIN, 0};
	if (poll(&trace, 1, milliseconds) <= 0)
		return false;
	forward_trace(supervisor);
	return supervisor->trace >= 0;
}

static void count_busy(void *context, const struct thread_state *thread)
{
	*(unsigned *)context += thread->state != 'S';
}

/* Does strace wait for the next event? Before that it still handles the last one: if the subject is
 * killed then, strace fails. */
static bool strace_waits(const struct supervisor *supervisor)
{
	unsigned busy = 0;
	if (supervisor->report.tracer && supervisor->trace >= 0)
		visit_threads(supervisor->report.tracer, count_busy, &busy);
	return !busy;
}

/* Stop all threads of the subject, so that its maps and its trace are of one moment. Returns false
 * if one of them does not stop, or the subject has ended. */
static bool stop_threads(struct supervisor *supervisor)
{
	struct pid_list signalled = {NULL, 0};
	double until = seconds() + STOP_SECONDS;
	bool stopped = false;
	while (!stopped && !supervisor->tree.ended && seconds() < until) {
		stopped = stop_processes(supervisor, &signalled) == 0 && strace_waits(supervisor);
		read_trace(supervisor, stopped ? 0 : 1);
		process_tree_reap(&supervisor->tree, handle_status, supervisor);
	}
	while (read_trace(supervisor, 0))
		;
	pid_list_free(&signalled);
	return stopped && !supervisor->tree.ended;
}

/* Has the subject printed or called nothing since the last look? */
static bool is_quiet(struct supervisor *supervisor)
{
	size_t seen = supervisor->output.sent + supervisor->error.sent + supervisor->traced;
	bool quiet = seen == supervisor->seen;
	supervisor->seen = seen;
	return quiet;
}

static const char *look(struct supervisor *supervisor)
{
	struct readiness *readiness = &supervisor->options.readiness;
	double now = seconds();
	supervisor->next_look = now + look_interval(supervisor);
	return readiness_look(readiness, supervisor->tree.leader, supervisor->report.tracer, now,
		is_quiet(supervisor));
}

/* Stop the subject, send its maps and trace up to this moment, and kill it. REASON is the condition
 * that was met, or `request`, or `timeout`. */
static void stop_subject(struct supervisor *supervisor, const char *reason)
{
	const struct readiness *readiness = &supervisor->options.readiness;
	char text[320];
	if (supervisor->stopped || supervisor->tree.ended)
		return;
	supervisor->stopped = true;
	look(supervisor);
	const char *activity = readiness_activity(readiness);
	bool stopped = stop_threads(supervisor);
	flush_trace();
	if (supervisor->tree.ended)
		return;
	int length = snprintf(text, sizeof text,
		"{\"reason\":\"%s\",\"activity\":\"%s\",\"calls\":\"%s\",\"threads\":%u,"
		"\"complete\":%s}",
		reason, activity, readiness->all.calls, readiness->all.threads,
		stopped ? "true" : "false");
	text_output_set_checkpoint("running");
	send_frame(FRAME_STOPPED, text, (size_t)length);
	send_maps(FRAME_MAPS, supervisor->tree.leader);
	kill(-supervisor->tree.leader, SIGKILL);
}

/* Look at the subject if it is time to. */
static void look_for_readiness(struct supervisor *supervisor)
{
	if (time_to_look(supervisor) > 0)
		return;
	const char *met = look(supervisor);
	if (met)
		stop_subject(supervisor, met);
}

static void handle_events(struct supervisor *supervisor, const struct pollfd slots[SLOTS])
{
	if (time_left(supervisor) <= 0)
		stop_subject(supervisor, "timeout");
	if (slots[REPORT].revents) /* first: FRAME_STARTED precedes the output */
		read_report(supervisor);
	if (slots[OUTPUT].revents)
		forward(&supervisor->output);
	if (slots[ERROR].revents)
		forward(&supervisor->error);
	if (slots[TRACE].revents)
		forward_trace(supervisor);
	if (slots[EXIT_FILTER].revents)
		handle_exit_filter(supervisor, slots[EXIT_FILTER].revents);
	if (supervisor->options.text && text_output_at_checkpoint())
		answer_checkpoint(supervisor);
	handle_commands(supervisor, slots);
	if (slots[SIGNALS].revents || supervisor->tree.more)
		process_tree_reap(&supervisor->tree, handle_status, supervisor);
	look_for_readiness(supervisor);
}

/* Until the subject ends, the harness is gone, or the agent is asked to stop. */
static void watch(struct supervisor *supervisor)
{
	struct pollfd slots[SLOTS];
	const struct process_tree *tree = &supervisor->tree;
	while (!tree->ended && !tree->stop_requested && !supervisor->harness_gone)
		if (wait_for_events(supervisor, slots))
			handle_events(supervisor, slots);
}

/* ---- the end ---- */

/* Read the rest of what strace writes. */
static void drain_trace(struct supervisor *supervisor)
{
	double until = seconds() + DRAIN_SECONDS;
	while (supervisor->trace >= 0 && seconds() < until) {
		struct pollfd rest = {supervisor->trace, POLLIN, 0};
		if (poll(&rest, 1, 100) > 0)
			forward_trace(supervisor);
	}
}

/* Read the rest of the output. All processes that could write are dead. */
static void drain_output(struct supervisor *supervisor)
{
	flush_trace();
	while (supervisor->output.fd >= 0)
		forward(&supervisor->output);
	while (supervisor->error.fd >= 0)
		forward(&supervisor->error);
	if (supervisor->report.socket >= 0)
		read_report(supervisor);
}

static void send_ended(const struct supervisor *supervisor, double wall, int outlived)
{
	char text[320];
	int status = supervisor->tree.status;
	const struct rusage *usage = &supervisor->tree.usage;
	int length = snprintf(text, sizeof text,
		"{\"status\":%d,\"signal\":%d,\"wall\":%.6f,\"user\":%.6f,\"system\":%.6f,"
		"\"max_rss\":%lld,\"minor_faults\":%lld,\"outlived\":%d,"
		"\"taint_before\":%d,\"taint_after\":%d}",
		WIFEXITED(status) ? WEXITSTATUS(status) : -1,
		WIFSIGNALED(status) ? WTERMSIG(status) : 0, wall, timeval_seconds(usage->ru_utime),
		timeval_seconds(usage->ru_stime), (long long)usage->ru_maxrss * 1024,
		(long long)usage->ru_minflt, outlived, supervisor->taint, kernel_taint());
	send_frame(FRAME_ENDED, text, (size_t)length);
}

static void send_work(const struct supervisor *supervisor, bool reports)
{
	if (*supervisor->work && reports && !supervisor->options.text)
		work_directory_send(supervisor->work, supervisor->options.work_files);
}

/* Kill what is left, restore the limits of the guest, and send the last frames. Returns the exit
 * status of the agent. */
static int finish(struct supervisor *supervisor)
{
	const struct start_report *report = &supervisor->report;
	const struct process_tree *tree = &supervisor->tree;
	bool reports = tree->ended && !supervisor->harness_gone;
	double end = seconds();
	int outlived = process_tree_kill(tree, reports ? report->tracer : 0);
	leave_fifo(supervisor);
	if (reports)
		drain_trace(supervisor);
	if (report->tracer)
		process_tree_kill(tree, 0);
	if (supervisor->options.guest_state)
		guest_state_end_watch();
	limits_leave(&supervisor->options.limits);
	if (reports)
		drain_output(supervisor);
	send_work(supervisor, reports);
	if (!reports)
		return EXIT_AGENT;
	const char *complaint = report->complaint;
	if (*supervisor->tracer.complaint)
		complaint = supervisor->tracer.complaint;
	bool ran = report->time > 0 && !*complaint;
	if (ran && supervisor->options.guest_state)
		guest_state_send("after");
	if (ran)
		send_ended(supervisor, end - report->time, outlived);
	else
		send_frame(FRAME_FAILED, complaint, strlen(complaint));
	if (!supervisor->options.text)
		return 0;
	return ran ? process_tree_exit_code(tree) : EXIT_AGENT;
}

/* Those of the command line, or if it has none, of standard input. */
static struct arguments read_arguments(int argc, char **argv)
{
	struct arguments arguments = {argc - 2, argv + 2, NULL};
	int error = 0;
	if (arguments.count <= 0)
		error = arguments_read(&arguments, STDIN_FILENO, FRAME_ARGUMENTS);
	if (error)
		die(-error, "cannot read the arguments from standard input", NULL);
	return arguments;
}

static void read_key(void)
{
	int error = output_read_key(STDIN_FILENO);
	if (error)
		die(-error, "cannot read the key of the frames from standard input", NULL);
	/* before the subject can write into the same pipe: foreign bytes after it are forged */
	send_frame(FRAME_READY, "", 0);
}

int run_main(int argc, char **argv)
{
	static struct supervisor supervisor = {
		.report = {.socket = -1, .complaint = ""},
		.output = {.kind = FRAME_STDOUT, .fd = -1},
		.error = {.kind = FRAME_STDERR, .fd = -1},
		.input = -1,
		.trace = -1,
		.fifo_writer = -1,
		.exit_filter = -1,
	};
	const char *rejected;
	const struct arguments arguments = read_arguments(argc, argv);
	int program = run_options_parse(
		&supervisor.options, arguments.count, arguments.words, 0, &rejected);
	if (program < 0)
		die_of_usage(rejected);
	supervisor.program = arguments.words + program;
	if (supervisor.options.text)
		output_as_text();
	else
		read_key();
	choose_tracer(&supervisor);
	make_place(&supervisor);
	start(&supervisor, arguments.words);
	watch(&supervisor);
	return finish(&supervisor);
}
