#define _GNU_SOURCE
#include "thread.h"

#include "util.h"

#include <sched.h>
#include <stdlib.h>

struct thread *thread_find(const struct thread_list *threads, pid_t tid)
{
	struct thread *thread = threads->first;
	while (thread && thread->tid != tid)
		thread = thread->next;
	return thread;
}

struct thread *thread_add(struct thread_list *threads, pid_t tid, struct address_map *map)
{
	struct thread *thread = xcalloc(1, sizeof *thread);
	thread->tid = tid;
	thread->map = map;
	thread->requested.number = NO_CALL;
	thread->next = threads->first;
	threads->first = thread;
	return thread;
}

void thread_remove(struct thread_list *threads, struct thread *thread)
{
	struct thread **at = &threads->first;
	while (*at != thread)
		at = &(*at)->next;
	*at = thread->next;
	address_map_release(thread->map);
	free(thread);
}

uint64_t clone_flags_of(pid_t tid, const struct call *call)
{
	if (call->number == SYS_clone)
		return call->arguments[CLONE_FLAGS];
	if (call->number == SYS_clone3) { /* the first member of struct clone_args */
		void *flags = (void *)(uintptr_t)call->arguments[0];
		return (uint64_t)ptrace(PTRACE_PEEKDATA, tid, flags, 0);
	}
#ifdef SYS_vfork
	if (call->number == SYS_vfork)
		return CLONE_VM | CLONE_VFORK;
#endif
	return 0;
}
