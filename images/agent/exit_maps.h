/* The maps of a subject when it is about to exit: the last that can be seen of it.
 *
 * strace cannot hold a subject. So a seccomp filter stops it at exit_group until the agent has read
 * its maps (SECCOMP_RET_USER_NOTIF). Its children stop there too, and continue at once. The subject
 * installs the filter before its exec, and passes the listener over the socket by which it reports.
 * On a kernel without such filters there are no exit maps. Where the agent is the tracer itself
 * (tracer.c), no filter is needed. */
#ifndef FOOTHOLD_EXIT_MAPS_H
#define FOOTHOLD_EXIT_MAPS_H

#include <stddef.h>
#include <sys/types.h>

/* In the child: install the filter. Returns the descriptor of its listener, or a negative errno. */
int exit_filter_install(void);
/* In the child: send TEXT over the socket, with the listener, which is closed; -1: without one.
 * Returns 0 or a negative errno. */
int exit_filter_pass(int socket, int listener, const char *text);
/* As read(2), but returns a negative errno. Sets LISTENER if one was passed. */
ssize_t exit_filter_receive(int socket, char *text, size_t room, int *listener);
/* Answer a process that is stopped at its exit: if it is of the subject LEADER, send its maps. */
void exit_filter_answer(int listener, pid_t leader);

/* Thread TID is about to exit: send its maps if it belongs to the process LEADER. */
void exit_maps_send(pid_t leader, pid_t tid);

#endif
