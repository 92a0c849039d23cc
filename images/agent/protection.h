/* What keeps a subject from the processes that watch it.
 *
 * A process may read the memory and the descriptors of another one, or trace it, if both have the
 * same user and it has every capability that the other one has (ptrace(2), "Ptrace access mode
 * checking"). A process that is not dumpable is open to CAP_SYS_PTRACE only. */
#ifndef FOOTHOLD_PROTECTION_H
#define FOOTHOLD_PROTECTION_H

#include <stdbool.h>

/* Make this process not dumpable. A child inherits it until its exec. */
void protect_process(void);
/* In such a child: undo that, as an exec does. */
void unprotect_process(void);
/* Is there a capability that a subject can give up? Without one, a subject can write into the
 * trace of strace, which is dumpable. */
bool can_weaken_subject(void);
/* In the child, before exec: give up a capability that the agent and strace have, for good.
 * Another user than root has no capability. */
void weaken_subject(void);

#endif
