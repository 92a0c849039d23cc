/* The supervisor: starts one program, watches it, and leaves nothing of it behind. */
#ifndef FOOTHOLD_SUPERVISOR_H
#define FOOTHOLD_SUPERVISOR_H

/* agent run [OPTIONS] -- PROGRAM: serve the harness on standard input and output (frames.h).
 * Without arguments, they come from standard input, too (arguments.h). Returns the exit status of
 * the agent. */
int run_main(int argc, char **argv);

#endif
