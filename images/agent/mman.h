/* sys/mman.h with the flags that older headers lack, and how system calls report errors. */
#ifndef FOOTHOLD_MMAN_H
#define FOOTHOLD_MMAN_H

#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_32BIT /* of x86 alone */
#define MAP_32BIT 0
#endif
#ifndef MAP_SYNC /* mips has none */
#define MAP_SYNC 0
#endif

#define LAST_ERROR (-4095) /* raw results from here to -1 are errors */

#endif
