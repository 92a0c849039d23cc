#define _GNU_SOURCE
#include "process_tree.h"

#include "terminal.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_STATUSES 100 /* that are handled before the harness is heard again */
#define MOST_ROUNDS 10000 /* a millisecond each, for a process that hangs in the kernel */

/* Is this living process a child of ours? */
static bool is_child(pid_t pid)
{
	char *stat = read_process_file(pid, "stat", NULL);
	/* the name in parentheses may contain any character: the fields begin after the last ")" */
	char *fields = stat ? strrchr(stat, ')') : NULL;
	int parent = 0;
	char state = 0;
	bool child = fields && sscanf(fields + 1, " %c %d", &state, &parent) == 2 &&
		     parent == getpid() && state != 'Z';
	free(stat);
	return child;
}

/* Kill all living children. Returns how many there were. */
static int kill_children(pid_t spared)
{
	int found = 0;
	DIR *proc = opendir("/proc");
	for (struct dirent *entry; proc && (entry = readdir(proc));) {
		pid_t pid = atoi(entry->d_name);
		if (pid <= 0 || pid == spared || !is_child(pid))
			continue;
		kill(pid, SIGKILL);
		found++;
	}
	if (proc)
		closedir(proc);
	return found;
}

void process_tree_open(struct process_tree *tree)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	*tree = (struct process_tree){.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
	if (tree->signals < 0)
		die(errno, "cannot receive signals", NULL);
}

/* In the child: undo what the agent has set up for itself, and die if the agent dies. */
static void become_leader(pid_t parent, int terminal)
{
	sigset_t none;
	sigemptyset(&none);
	if (terminal < 0)
		setpgid(0, 0);
	else
		terminal_take(terminal);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent && getppid() != 0) /* 0: a parent outside of the pid namespace */
		_exit(EXIT_AGENT);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
}

/* Fork into a cgroup. To move a process there later takes about 10 ms: the kernel waits for RCU. */
static pid_t fork_into(int cgroup)
{
	struct clone_args arguments = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};
	return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

pid_t process_tree_fork(struct process_tree *tree, int terminal, int cgroup)
{
	pid_t parent = getpid(), pid = cgroup < 0 ? fork() : fork_into(cgroup);
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		become_leader(parent, terminal);
		return 0;
	}
	if (terminal < 0)
		setpgid(pid, pid); /* parent and child race: the first one counts */
	tree->leader = pid;
	return pid;
}

void process_tree_reap(struct process_tree *tree, status_handler *handler, void *context)
{
	struct signalfd_siginfo info;
	while (read(tree->signals, &info, sizeof info) == sizeof info)
		if (info.ssi_signo != SIGCHLD)
			tree->stop_requested = true;
	int status;
	struct rusage usage;
	for (int i = 0; i < MOST_STATUSES; i++) {
		pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
		tree->more = pid > 0;
		if (!tree->more)
			break;
		bool lives = handler && handler(context, pid, status);
		if (!lives && pid == tree->leader) {
			tree->ended = true;
			tree->status = status;
			tree->usage = usage;
		}
	}
}

void process_tree_continue(const struct process_tree *tree)
{
	siginfo_t info = {.si_pid = 0};
	if (waitid(P_PID, (id_t)tree->leader, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid)
		kill(tree->leader, SIGCONT);
}

/* Orphans become children of the agent (it is their subreaper), so the tree shrinks until it is
 * gone. No process is waited for on its own: an orphan that has just arrived was not sent SIGKILL
 * yet (the processes of a UML 6.1 kernel arrive so). */
int process_tree_kill(const struct process_tree *tree, pid_t spared)
{
	int outlived = 0;
	if (waitpid(-1, NULL, WNOHANG | __WALL) < 0)
		return 0; /* ECHILD: to look at all processes of the machine takes longer */
	for (int round = 0; round < MOST_ROUNDS; round++) {
		int children = kill_children(spared);
		if (round == 0) { /* counted before the group is killed: they may be members */
			outlived = children;
			kill(-tree->leader, SIGKILL);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (children == 0 && (spared || waitpid(-1, NULL, WNOHANG) < 0))
			break; /* ECHILD: not even a zombie is left */
		poll(NULL, 0, 1);
	}
	return outlived;
}

int process_tree_exit_code(const struct process_tree *tree)
{
	return WIFEXITED(tree->status) ? WEXITSTATUS(tree->status) : 128 + WTERMSIG(tree->status);
}
