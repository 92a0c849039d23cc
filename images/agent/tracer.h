/* The tracer: follows all threads and children of a subject with ptrace, brings about the faults
 * that are requested, and writes the trace. All that is traced dies with the agent. */
#ifndef FOOTHOLD_TRACER_H
#define FOOTHOLD_TRACER_H

#include "faults.h"
#include "thread.h"

#include <stdbool.h>
#include <sys/types.h>

struct tracer {
	struct faults faults;
	bool writes_trace;
	bool sends_exit_maps;
	pid_t leader; /* the first process of the subject */
	struct thread_list threads;
	char complaint[256]; /* why the subject was killed: a fault could not be brought about */
};

bool tracer_needed(const struct tracer *tracer);
/* In the child: wait for the tracer, then have the calls stop. Only exec may come after this. */
void tracer_prepare_child(const struct tracer *tracer);
/* Trace the child from before its exec to behind it. If it dies meanwhile, its status is left for
 * wait(2). */
void tracer_attach(struct tracer *tracer, pid_t pid);
/* Handle a status from wait(2). Returns true if it was a stop of a traced thread. */
bool tracer_handle(struct tracer *tracer, pid_t tid, int status);
/* Is this thread stopped by a signal such as SIGSTOP, and not only at a call? */
bool tracer_has_stopped(const struct tracer *tracer, pid_t tid);

#endif
