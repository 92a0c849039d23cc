/* A machine that the harness reaches by SSH: nothing of ours stays there.
 *
 * The harness makes a directory of mode 0700 there and copies this program into it as `agent`. Then
 * it starts two roles of it, each over an SSH channel of its own:
 *
 * `agent session TOKEN SECONDS` owns the directory. It makes the files that the harness sends. When
 * its standard input ends, or the harness is silent for SECONDS, it waits for all that runs there
 * to end, and removes the directory.
 *
 * `agent request TOKEN` reads a command of the agent (`run ...`) from standard input, and runs it
 * under a keeper, whose owner is the session.
 *
 * Arguments come over standard input because the shell of the user would read a command line, and
 * it may be any shell. It may also print text of its own first, so both begin with a line that the
 * harness searches: "ready TOKEN". */
#ifndef FOOTHOLD_SESSION_H
#define FOOTHOLD_SESSION_H

/* The FIFO in the directory. The session writes nothing into it: its end says that the session is
 * gone. Each keeper holds a shared lock on it. */
#define SESSION_FIFO "alive"

int session_main(int argc, char **argv);

/* Enter the directory of the program ARGV0. Calls die() if it is not a directory of this user
 * alone. Returns a descriptor of it. */
int session_enter(const char *argv0);

/* Print the line with the token. */
void session_announce(const char *token);

#endif
