/* The options of `agent run` and `agent exec`. */
#ifndef FOOTHOLD_RUN_OPTIONS_H
#define FOOTHOLD_RUN_OPTIONS_H

#include "faults.h"
#include "readiness.h"
#include "subject_limits.h"
#include "subject_root.h"
#include "terminal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

struct run_options {
	struct subject_root root;      /* the options of subject_root.h */
	const char *work;              /* --work DIR: its working directory, made for it; or NULL */
	const char *work_files;        /* --work-files DIR: what is copied into that; or NULL */
	const char *written;           /* --written DIR: send what it writes there; or NULL */
	const char *input;             /* --input FILE: standard input; NULL: a pipe */
	bool trace_files;              /* --trace-files: strace traces the calls that name files */
	struct limits limits;          /* the options of subject_limits.h */
	struct faults faults;          /* the options of faults.h */
	const char *trace;             /* --trace STRACE|self|fifo:PATH; NULL: no trace */
	bool exit_maps;                /* --exit-maps: send the maps of the subject at its exit */
	struct terminal_size terminal; /* --terminal ROWSxCOLUMNS: a terminal for the subject */
	struct readiness readiness;    /* the options of readiness.h */
	bool guest_state; /* --guest-state: send what the subject may have changed of the guest */
	bool guest_state_before; /* --guest-state-before: send it before the subject starts, too */
	bool text;               /* --text: text for a person instead of frames */
	unsigned timeout; /* --timeout SECONDS: kill the subject if it still runs then; 0: never */
};

/* The first letters of --trace fifo:PATH: the program itself writes the trace, into a FIFO that the
 * agent makes there, so that it inherits no descriptor. */
#define TRACE_OWN "fifo:"
/* --trace self: the agent is the tracer. */
#define TRACE_SELF "self"

/* Parse the options from argv[AT] up to "--". Returns the index of the program behind it, or
 * -EINVAL; then *REJECTED is the word that was not understood, or NULL if the program is missing.
 */
int run_options_parse(
	struct run_options *options, int argc, char **argv, int at, const char **rejected);
void run_options_free(struct run_options *options);

/* Find the program behind "--" at argv[AT]. Returns as run_options_parse(). */
int find_program(int argc, char **argv, int at, const char **rejected);
/* Print which word was rejected and exit. */
noreturn void die_of_usage(const char *rejected);

#endif
