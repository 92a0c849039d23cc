/* Arguments from standard input: those of `agent run`, and of `agent request`.
 *
 * A command line of SSH has at most 9,000 bytes, and a UML line stalls at 4,095. So the harness
 * starts `agent run` without arguments, and sends them in the first frame: the options, "--" and
 * the program with its arguments. Each of them ends with a NUL byte. */
#ifndef FOOTHOLD_ARGUMENTS_H
#define FOOTHOLD_ARGUMENTS_H

#include "frames.h"

/* The kernel takes at most three quarters of the largest stack, 6 MiB: execve(2). */
#define MOST_ARGUMENTS (6 << 20)

struct arguments {
	int count;
	char **words; /* ends with NULL */
	char *text;   /* where the words are */
};

/* Read a frame of this kind with arguments. Returns 0 or a negative errno: -EPROTO for another
 * frame, or a word without an end. */
int arguments_read(struct arguments *arguments, int fd, enum frame_kind kind);
void arguments_free(struct arguments *arguments);

#endif
