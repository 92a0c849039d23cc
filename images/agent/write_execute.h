/* Refuses memory that a program could both write and execute, as systemd's MemoryDenyWriteExecute=
 * does (systemd.exec(5)).
 *
 * Linux 6.3 and newer refuse it themselves (PR_SET_MDWE, prctl(2)), with EACCES: a mapping that is
 * writable and executable at once, and the change of a mapping that was not executable into one
 * that is. On older kernels a seccomp filter answers EPERM: to mmap with PROT_WRITE and PROT_EXEC,
 * to mprotect and pkey_mprotect with PROT_EXEC, and to shmat with SHM_EXEC. So the filter also
 * refuses mprotect of a mapping that is executable already. Both are kept over fork and exec. */
#ifndef FOOTHOLD_WRITE_EXECUTE_H
#define FOOTHOLD_WRITE_EXECUTE_H

#include <stdbool.h>

/* Does this kernel have PR_SET_MDWE? 0, or the errno of prctl(2). */
int write_execute_prctl(void);
/* Refuse it in this process and its descendants, or have their tracer refuse it. Returns 0 or a
 * negative errno. */
int write_execute_refuse(bool traced);

#endif
