/* Makes the files that the harness sends, below a directory. */
#ifndef FOOTHOLD_PLACEMENT_H
#define FOOTHOLD_PLACEMENT_H

#include <stddef.h>

struct placement {
	int directory;
	int file;            /* that is being written; -1: none */
	char complaint[512]; /* the first error since the last placement_end(); empty: none */
};

void placement_open(struct placement *placement, int directory);
/* Begin an entry: "MODE PATH", a NUL byte, and the target of a link. MODE is octal, as in stat(2).
 * The directories above it exist. A file or link that exists is replaced. */
void placement_begin(struct placement *placement, const unsigned char *entry, size_t length);
/* Append to the file that has begun. */
void placement_write(struct placement *placement, const unsigned char *bytes, size_t length);
/* Finish the last file. Returns what failed since the last call, or an empty text. */
const char *placement_end(struct placement *placement);

#endif
