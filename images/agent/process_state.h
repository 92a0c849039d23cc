/* What the threads of a subject do now, as /proc shows it. */
#ifndef FOOTHOLD_PROCESS_STATE_H
#define FOOTHOLD_PROCESS_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pid_list {
	pid_t *pids;
	size_t count;
};

bool pid_list_has(const struct pid_list *list, pid_t pid);
void pid_list_add(struct pid_list *list, pid_t pid);
void pid_list_free(struct pid_list *list);

/* List all living processes below the agent, but not SPARED (0: none), parents before children. */
struct pid_list processes_below(pid_t spared);

/* One thread. */
struct thread_state {
	pid_t pid, tid;
	char state;        /* as in /proc/PID/task/TID/stat: R S D T t Z ... */
	uint64_t ticks;    /* of a processor, in clock ticks */
	uint64_t faults;   /* minor page faults */
	uint64_t resident; /* pages of its process */
};

typedef void thread_visitor(void *context, const struct thread_state *thread);
/* Call VISITOR for each thread of a process. */
void visit_threads(pid_t pid, thread_visitor *visitor, void *context);

/* What all threads of some processes do. */
struct activity {
	unsigned threads;  /* that live */
	unsigned waiting;  /* of these, blocked in a call that an event or a signal ends */
	unsigned sleeping; /* of the waiting ones, first threads that wait for a time to pass */
	uint64_t ticks, faults, resident; /* sums */
	char calls[96];                   /* the calls in which they wait, each once */
};

/* How many times the first thread of a process has waited. */
uint64_t voluntary_switches(pid_t pid);

/* Look at all threads of these processes. */
struct activity activity_of(const struct pid_list *processes);

#endif
