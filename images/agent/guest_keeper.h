/* The keeper: runs a process on the host, that of a guest or the supervisor of a subject, continues
 * it if it is stopped, and kills it and everything below it when it ends or its owner is gone. */
#ifndef FOOTHOLD_GUEST_KEEPER_H
#define FOOTHOLD_GUEST_KEEPER_H

/* agent keep [LIMITS] [SANDBOX] --owner FD -- PROGRAM: the program inherits all descriptors but FD,
 * a pipe or socket. Its end of file says that the owner is gone, however that ended. Returns the
 * exit status of the agent.
 *
 * SUPERVISE is called in place of `agent run`, if that is the PROGRAM: to execute the agent again
 * takes 0.4 ms. NULL: it is executed. */
int keep_main(int argc, char **argv, int (*supervise)(int argc, char **argv));

#endif
