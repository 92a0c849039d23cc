/* The threads that the tracer follows.
 *
 * A traced thread stops twice at a call: at its entry, where the call may be changed or skipped,
 * and at its exit, where the registers get the arguments that the program had put there. */
#ifndef FOOTHOLD_THREAD_H
#define FOOTHOLD_THREAD_H

#include "address_map.h"
#include "syscall_regs.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct thread {
	struct thread *next;
	pid_t tid;
	struct address_map *map;
	struct range loader; /* loader.h; read only if calls are to fail */
	/* The current call as the program made it; its number is NO_CALL outside of a call. */
	struct call requested;
	struct call faulted; /* after faults_apply() */
	struct call issued;  /* as the kernel gets it */
	bool skipped;        /* the call is not made */
	bool by_filter;      /* because a filter of the subject refuses it */
	int error;           /* errno with which it is skipped; 0: it seems to succeed */
	bool repeats;        /* the call is about to be made again */
	int attempts;        /* how often that was */
	bool stopped;        /* by a signal, until another one continues it */
	bool awaits_parent;  /* a new thread whose parent has not reported it yet */
	struct range claim;  /* what the call will map if it succeeds; end 0: nothing */
	char path[256];      /* the file of an execve */
};

struct thread_list {
	struct thread *first;
};

struct thread *thread_find(const struct thread_list *threads, pid_t tid);
/* Add a thread, which takes over the map. */
struct thread *thread_add(struct thread_list *threads, pid_t tid, struct address_map *map);
void thread_remove(struct thread_list *threads, struct thread *thread);
/* The flags with which clone, clone3, fork or vfork is called. */
uint64_t clone_flags_of(pid_t tid, const struct call *call);

#endif
