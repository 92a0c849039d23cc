/* A terminal for a subject. */
#ifndef FOOTHOLD_TERMINAL_H
#define FOOTHOLD_TERMINAL_H

struct terminal_size {
	unsigned short rows, columns; /* 0: no terminal */
};

/* Open a terminal. Returns 0 or a negative errno. */
int terminal_open(struct terminal_size size, int *ours, int *theirs);
/* In the child: become the leader of a session on this terminal, so that Ctrl-C and a hang-up reach
 * what runs there. Calls die() on failure. */
void terminal_take(int terminal);
/* Set its size; the kernel sends SIGWINCH to its foreground processes. */
void terminal_resize(int terminal, struct terminal_size size);

#endif
