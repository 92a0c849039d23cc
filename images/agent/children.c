/* The processes below us: none of them outlives us, however they were started. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_AT_ONCE 100 /* stops and ends of what is below us, before we listen to the harness again */

/* How many living processes have us as their parent; each is sent SIGKILL. One may be spared. */
static int kill_children(pid_t spared)
{
	int found = 0;
	pid_t self = getpid();
	DIR *proc = opendir("/proc");
	for (struct dirent *entry; proc && (entry = readdir(proc));) {
		int pid = atoi(entry->d_name);
		char path[64];
		if (pid <= 0 || pid == spared)
			continue;
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
		char *stat = slurp(path, NULL);
		/* the name in parentheses may hold anything: the fields begin after the last one */
		char *after = stat ? strrchr(stat, ')') : NULL;
		int parent = 0;
		char state = 0;
		if (after && sscanf(after + 1, " %c %d", &state, &parent) == 2 && parent == self && state != 'Z') {
			kill(pid, SIGKILL);
			found++;
		}
		free(stat);
	}
	if (proc)
		closedir(proc);
	return found;
}

/* Kill whatever is left below us. Orphans come to us (child subreaper), so the tree shrinks
 * until it is gone. Never waits for one process: an orphan that has just come to us has not been
 * sent SIGKILL yet (a UML 6.1 kernel's processes come so). At most about ten seconds, for what
 * hangs in the kernel. Answers how many processes had outlived their leader. A tracer is SPARED
 * (0: none): it ends by itself when it has written down the end of what it traced. */
int sweep(pid_t leader, pid_t spared)
{
	int outlived = 0;
	for (int round = 0; round < 10000; round++) {
		int children = kill_children(spared);
		if (round == 0) { /* counted before its group is killed, where they may be as well */
			outlived = children;
			kill(-leader, SIGKILL);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (children == 0 && (spared || waitpid(-1, NULL, WNOHANG) < 0))
			break; /* ECHILD: nobody is left, not even a zombie */
		poll(NULL, 0, 1);
	}
	return outlived;
}

int child_signals(void)
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
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* In the child: undo what we set up for ourselves, and die if we die. Its standard streams become
 * those of a terminal, if it gets one (-1: none). */
void become_subject(pid_t supervisor, int terminal)
{
	sigset_t none;
	sigemptyset(&none);
	if (terminal < 0)
		setpgid(0, 0);
	else
		terminal_take(terminal);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor)
		_exit(EXIT_AGENT);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
}

/* Has the leader ended? Reaps everything else that has; a stop is for the faults. A subject can stop
 * without end, so that there may be MORE of it when the harness has been heard. */
int reap(int signals, pid_t leader, struct bend *bend, int *status, struct rusage *usage, int *wanted, int *more)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof info) == sizeof info)
		if (info.ssi_signo != SIGCHLD)
			*wanted = 1; /* somebody asks us to stop */
	int ended = 0, result;
	struct rusage one;
	for (int i = 0; i < MOST_AT_ONCE; i++) {
		pid_t pid = wait4(-1, &result, WNOHANG | __WALL, &one);
		*more = pid > 0;
		if (!*more)
			break;
		if (!bend_stop(bend, pid, result) && pid == leader) {
			ended = 1;
			*status = result;
			*usage = one;
		}
	}
	return ended;
}
