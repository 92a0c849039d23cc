/* Writes the trace of a subject with faults, in the format of strace.
 *
 * A program has one tracer: where the agent is it, strace cannot be. One parser reads both
 * (harness/evidence/strace.py). A call is written as the program made it, with the result that the
 * program got: a hint that was ignored looks like a hint that the kernel moved. */
#ifndef FOOTHOLD_TRACE_WRITER_H
#define FOOTHOLD_TRACE_WRITER_H

#include "syscall_filter.h"
#include "thread.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Add the calls that a trace lists. */
void trace_calls(struct call_set *calls);

/* The first line: this tracer writes the trace, not strace. */
void trace_attached(pid_t tid);
/* At the entry of a call: note the path of an execve; write a call that does not return. */
void trace_entry(struct thread *thread);
/* At the exit of a call: write it. INJECTED: the agent caused the result. */
void trace_exit(const struct thread *thread, int64_t result, bool injected);
/* A signal is delivered. */
void trace_signal(pid_t tid);
/* A process or thread has ended. */
void trace_end(pid_t tid, int status);

#endif
