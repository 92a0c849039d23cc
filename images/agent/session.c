#define _GNU_SOURCE
#include "session.h"

#include "output.h"
#include "placement.h"
#include "protection.h"
#include "remove_tree.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_FIFO SESSION_FIFO ".new"
#define PARTING_SECONDS 4 /* for all that runs in the directory to end */

struct session {
	const char *path; /* of the directory */
	int directory;
	int fifo;    /* keeps the FIFO open for writing */
	int locks;   /* the FIFO once more: waits for the locks of the keepers */
	int silence; /* milliseconds that the harness may be silent */
	struct frame_reader commands;
	struct placement placement;
	bool harness_gone;
};

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal)
{
	(void)signal;
	stop_requested = 1;
}

static const char *directory_of(const char *program)
{
	static char path[PATH_MAX];
	const char *end = strrchr(program, '/');
	int length = end ? (int)(end - program) : 0;
	if (*program != '/' || length == 0 || length >= PATH_MAX)
		die(EINVAL, "cannot find the directory of", program);
	snprintf(path, sizeof path, "%.*s", length, program);
	return path;
}

int session_enter(const char *argv0)
{
	const char *path = directory_of(argv0);
	struct stat status;
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory < 0 || fstat(directory, &status) < 0)
		die(errno, "cannot open", path);
	if (status.st_uid != geteuid() || (status.st_mode & 077) != 0)
		die(EPERM, "others than this user may use", path);
	if (fchdir(directory) < 0)
		die(errno, "cannot enter", path);
	return directory;
}

void session_announce(const char *token)
{
	char line[128];
	int length = snprintf(line, sizeof line, "\nready %s\n", token);
	if (length >= (int)sizeof line)
		die(EINVAL, "cannot use the token", token);
	write_all(STDOUT_FILENO, line, (size_t)length);
}

/* ---- commands of the harness ---- */

static void execute_commands(struct session *session)
{
	struct frame frame;
	int found;
	while ((found = frame_first(&session->commands, &frame)) > 0) {
		if (frame.kind == FRAME_ENTRY)
			placement_begin(&session->placement, frame.payload, frame.length);
		else if (frame.kind == FRAME_CONTENT)
			placement_write(&session->placement, frame.payload, frame.length);
		else if (frame.kind == FRAME_SYNC) {
			const char *complaint = placement_end(&session->placement);
			send_frame(FRAME_SYNC, complaint, strlen(complaint));
		}
		frame_remove(&session->commands);
	}
	session->harness_gone |= found < 0;
}

static void read_commands(struct session *session)
{
	struct frame_reader *reader = &session->commands;
	ssize_t got = read(STDIN_FILENO, reader->buffer + reader->filled,
		sizeof reader->buffer - reader->filled);
	if (got < 0 && errno == EINTR)
		return;
	session->harness_gone = got <= 0;
	if (got <= 0)
		return;
	reader->filled += (size_t)got;
	execute_commands(session);
}

/* Until the harness is gone, or silent for too long, or the session is asked to stop. */
static void serve(struct session *session)
{
	while (!session->harness_gone && !stop_requested) {
		struct pollfd input = {STDIN_FILENO, POLLIN, 0};
		int events = poll(&input, 1, session->silence);
		if (events > 0)
			read_commands(session);
		else if (events == 0)
			session->harness_gone = true;
	}
}

/* ---- begin and end ---- */

/* It gets its name when it has a writer: without one, the session is gone. It replaces that of a
 * session that was killed. */
static void make_fifo(struct session *session)
{
	unlink(NEW_FIFO);
	if (mkfifo(NEW_FIFO, 0600) < 0)
		die(errno, "cannot make the FIFO", NEW_FIFO);
	session->locks = open(NEW_FIFO, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	session->fifo = open(NEW_FIFO, O_WRONLY | O_CLOEXEC);
	if (session->locks < 0 || session->fifo < 0)
		die(errno, "cannot open the FIFO", NEW_FIFO);
	if (rename(NEW_FIFO, SESSION_FIFO) < 0)
		die(errno, "cannot name the FIFO", SESSION_FIFO);
}

static void handle_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM};
	struct sigaction action = {.sa_handler = request_stop}; /* no SA_RESTART: calls return */
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* The end of the FIFO ends the keepers and all below them; each gives up its lock when it is done.
 * A new keeper finds no FIFO. */
static void end_programs(struct session *session)
{
	unlinkat(session->directory, SESSION_FIFO, 0);
	close(session->fifo);
	alarm(PARTING_SECONDS);
	flock(session->locks, LOCK_EX);
	alarm(0);
}

/* Returns 0 or a negative errno. */
static int remove_directory(const struct session *session)
{
	struct stat own, named;
	int error = empty_directory(session->directory);
	if (error)
		return error;
	if (fstat(session->directory, &own) < 0 || lstat(session->path, &named) < 0)
		return -errno;
	if (own.st_dev != named.st_dev || own.st_ino != named.st_ino)
		return -ENOENT; /* it was moved, and another one has its name */
	return rmdir(session->path) < 0 ? -errno : 0;
}

int session_main(int argc, char **argv)
{
	static struct session session;
	uint64_t seconds;
	if (argc != 4 || parse_number(argv[3], &seconds) < 0 || !seconds || seconds > 86400)
		die(EINVAL, "usage: agent session TOKEN SECONDS", NULL);
	handle_signals();
	protect_process();
	session.silence = (int)seconds * 1000;
	session.directory = session_enter(argv[0]);
	session.path = directory_of(argv[0]);
	make_fifo(&session);
	session_announce(argv[2]); /* requests come from now on */
	placement_open(&session.placement, session.directory);
	int error = output_read_key(STDIN_FILENO);
	if (!error)
		serve(&session);
	end_programs(&session);
	error = remove_directory(&session);
	if (error)
		die(-error, "cannot remove", session.path);
	return 0;
}
