/* The guest keeper: runs the process of a guest on the host, and kills all of it when its owner is
 * gone. */
#ifndef FOOTHOLD_GUEST_KEEPER_H
#define FOOTHOLD_GUEST_KEEPER_H

/* agent keep [LIMITS] [SANDBOX] --owner FD -- PROGRAM: the program inherits all descriptors but FD,
 * a pipe or socket. Its end of file says that the owner is gone, however that ended. Returns the
 * exit status of the agent. */
int keep_main(int argc, char **argv);

#endif
