/* The processes below the agent: none of them outlives it, however they were started. */
#ifndef FOOTHOLD_PROCESS_TREE_H
#define FOOTHOLD_PROCESS_TREE_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

/* The first process below the agent, and what wait(2) reports of all of them. */
struct process_tree {
	pid_t leader;
	int signals;         /* a signalfd: SIGCHLD, and requests to stop */
	bool ended;          /* the leader has ended, with: */
	int status;          /* its status, as from wait(2) */
	struct rusage usage; /* its resource use */
	bool stop_requested; /* by a signal to the agent */
	bool more;           /* reap() has left statuses for its next call */
};

/* Handles a status from wait(2). Returns true if the process has not ended. */
typedef bool status_handler(void *context, pid_t pid, int status);

/* Make the agent the reaper of all processes below it, and open the signalfd. */
void process_tree_open(struct process_tree *tree);
/* Fork the leader, which dies with the agent. TERMINAL becomes its terminal; -1: none. CGROUP is
 * the directory of its cgroup (version 2); -1: that of the agent. Returns as fork(2), but a
 * negative errno. */
pid_t process_tree_fork(struct process_tree *tree, int terminal, int cgroup);
/* Handle what wait(2) reports, but not without end: a subject can stop so often that the agent
 * would neglect the harness. HANDLER may be NULL. */
void process_tree_reap(struct process_tree *tree, status_handler *handler, void *context);
/* Continue the leader if a signal has stopped it. */
void process_tree_continue(const struct process_tree *tree);
/* Kill all processes below the agent, but not SPARED (0: none), which ends by itself: a tracer that
 * has to write the end of its trace. Returns how many had outlived the leader. */
int process_tree_kill(const struct process_tree *tree, pid_t spared);
/* The status of the leader as a shell shows it. */
int process_tree_exit_code(const struct process_tree *tree);

#endif
