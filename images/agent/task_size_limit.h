/* Imitates a smaller task size: what this kernel would answer if the address space ended earlier.
 *
 * Nothing new is mapped above the limit. What execve has mapped there (program, loader, stack,
 * vdso) stays, and may be unmapped, moved away or mapped over. The rules are those of mm/mmap.c
 * (get_unmapped_area, do_mmap, do_munmap), mm/mremap.c and ipc/shm.c:
 *
 *   mmap, shmat   ENOMEM if it is longer than the address space, or if a fixed place is beyond the
 *                 end. A hint beyond the end, or taken, is ignored. Without a hint: the kernel's
 * own choice (address_map.c). mremap        grows in place if that is free and below the end;
 * otherwise it moves, if it may, to the kernel's choice. MREMAP_FIXED beyond the end: EINVAL.
 *   munmap        beyond the end: EINVAL.
 *
 * Other calls (mprotect, madvise, mincore, msync, mlock) answer ENOMEM above the limit, as they do
 * wherever nothing is mapped. The kernel itself would place above the limit. So the agent finds a
 * place and passes it with MAP_FIXED_NOREPLACE; if the place is taken after all, the call is made
 * again. */
#ifndef FOOTHOLD_TASK_SIZE_LIMIT_H
#define FOOTHOLD_TASK_SIZE_LIMIT_H

#include "thread.h"

#include <stdint.h>

#define REPEAT_CALL INT64_MIN /* instead of a result: the call has to be made again */

struct task_size {
	uint64_t limit;
	const struct thread_list *threads;
};

/* At the entry of a call: change THREAD->issued. Returns 0, or the errno (positive, as the program
 * sees it) with which the call fails. */
int task_size_entry(const struct task_size *size, struct thread *thread);
/* At its exit: the result that the program sees, or REPEAT_CALL. */
int64_t task_size_exit(const struct task_size *size, struct thread *thread, int64_t result);

#endif
