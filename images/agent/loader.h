/* The dynamic loader of a program: its own calls are not those of the program. */
#ifndef FOOTHOLD_LOADER_H
#define FOOTHOLD_LOADER_H

#include "range.h"

#include <stdbool.h>
#include <sys/types.h>

/* Where a process that has just begun a program (COMPAT: a 32-bit one on a 64-bit kernel) has its
 * dynamic loader; end 0: it has none, or one that is its libc as well (musl), whose calls are those
 * of the program. */
struct range loader_range(pid_t pid, bool compat);

#endif
