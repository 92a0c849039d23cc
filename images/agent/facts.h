/* The facts of an address space: measured in this process, written as one JSON object.
 *
 * Everything is found by mapping: the task size is the lowest address at which MAP_FIXED_NOREPLACE
 * answers neither success nor EEXIST. What only the kernel knows (modes, limits, promised memory)
 * is read from its files. The object stays below 4,095 bytes, at which a UML line stalls. */
#ifndef FOOTHOLD_FACTS_H
#define FOOTHOLD_FACTS_H

void facts_write(int fd);

/* agent facts [COMMAND...]: write the facts to standard output. COMMAND is the command line of an
 * emulator that runs the agent; a kernel would start the agent again without it. */
int facts_main(int argc, char **argv);
/* agent probe: write the address of the first mapping of a new program, 8 bytes, to standard
 * output. The facts compare a few of them to measure randomisation. */
int probe_main(void);

#endif
