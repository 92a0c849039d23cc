/* When a subject is ready: the conditions, and whether one of them is met.
 *
 * The agent looks at the subject every few milliseconds. A subject is idle if all its threads wait
 * for an event for some time, and use no processor. A first thread that waits for a time to pass
 * (nanosleep) is not idle: it will go on without an event. */
#ifndef FOOTHOLD_READINESS_H
#define FOOTHOLD_READINESS_H

#include "process_state.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct readiness {
	unsigned idle;    /* --ready-idle MILLISECONDS; 0: not a condition */
	unsigned port;    /* --ready-port N: listens on this TCP port; 0: not a condition */
	const char *file; /* --ready-file PATH: this file appears or is written; NULL: no */
	bool notify;      /* --ready-notify: it sends READY=1 as sd_notify(3) does */
	/* what was seen so far */
	struct timespec start; /* wall-clock time before the subject started */
	int socket;            /* that receives its notifications */
	double idle_since;     /* seconds; 0: it was busy */
	double sampled;        /* when `sample` was taken */
	struct activity all;   /* of all processes, if the first one waits */
	struct activity idle_start;
	struct activity first, sample;      /* of the first process: now, and some time ago */
	uint64_t switches, sample_switches; /* of its first thread, at the last two samples */
};

/* Parse the option at argv[at]. Returns how many words it has, 0 if it is unknown, or -EINVAL. */
int readiness_option(struct readiness *readiness, int argc, char **argv, int at);
/* Before the subject starts: note the time, and open the socket of NOTIFY_SOCKET. */
void readiness_open(struct readiness *readiness);
/* Milliseconds between two looks. */
int readiness_interval(const struct readiness *readiness);
/* Look at the subject LEADER at time NOW, in seconds. QUIET: it has printed nothing since the last
 * look. SPARED is its tracer. Returns the condition that is met (`idle`, `port`, `file`, `notify`),
 * or NULL. */
const char *readiness_look(
	struct readiness *readiness, pid_t leader, pid_t spared, double now, bool quiet);
/* What the subject did at the last look: `waits`, `faults` (only page faults, which give it no
 * memory) or `runs`. */
const char *readiness_activity(const struct readiness *readiness);

#endif
