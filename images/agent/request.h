/* A command of the agent that comes over standard input, on a machine that the harness reaches by
 * SSH: session.h. */
#ifndef FOOTHOLD_REQUEST_H
#define FOOTHOLD_REQUEST_H

/* agent request TOKEN: read FRAME_REQUEST, then run the command under a keeper that ends with the
 * session. The frame holds words, each with a NUL byte behind it: the working directory, below that
 * of the session, which is made for the command and removed after it (empty: none); the directory
 * whose files are copied into it (empty: none); the words of the command, `run` first. Returns the
 * exit status of the keeper. */
int request_main(int argc, char **argv);

#endif
