/* What the parts of a fault share (bend.c, faults.c, ceiling.c, space.c, told.c), and nobody else.
 *
 * A traced thread stops twice at a call: before it, where the call may be changed or refused, and
 * after it, where the registers are put back as the program had them. */
#ifndef FOOTHOLD_BEND_H
#define FOOTHOLD_BEND_H

#include "agent.h"
#include "machine.h"

#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define PAGE 4096ULL

/* space.c: what is mapped in an address space, as far as its calls tell; threads share one */
struct space {
	int users;
	struct range *taken; /* in order, disjoint, none touching the next */
	size_t count, room;
	int stale; /* something may have been unmapped or mapped of which we do not know */
	int upward; /* the kernel of this space places from the bottom */
	uint64_t base; /* where that begins; downward: where it ends */
};
struct space *space_new(void);
struct space *space_copy(const struct space *space);
void space_leave(struct space *space);
int space_read(struct space *space, pid_t pid);
void space_lay_out(struct space *space, pid_t pid, uint64_t ceiling);
void space_take(struct space *space, uint64_t start, uint64_t end);
void space_give(struct space *space, uint64_t start, uint64_t end);
int space_meets(const struct space *space, uint64_t start, uint64_t end);
int space_holds(const struct space *space, uint64_t start, uint64_t end);
uint64_t space_find(const struct space *space, uint64_t length, uint64_t ceiling);

/* bend.c: the threads that are traced */
struct thread {
	struct thread *next;
	pid_t tid;
	struct space *space;
	/* the call under way: as the program made it, as faults left it, and as it is made; or NO_CALL */
	struct call asked, wanted, made;
	int error;          /* with which it is refused; 0: it is made */
	int again, tries;   /* it is about to be made again; how often it was */
	int newborn;        /* it waits for its parent to say whose memory it has */
	struct range claim; /* what the call will map, if it succeeds */
	char path[256];     /* that it executes */
};
extern struct thread *threads;
uint64_t thread_flags(pid_t tid, const struct call *call);

/* faults.c: what is asked for */
int fault(struct bend *bend, struct call *call);
void faults_filter(const struct bend *bend);

/* ceiling.c: calls in an address space that ends earlier */
int ceiling_call(const struct bend *bend, struct thread *thread);
int64_t ceiling_result(const struct bend *bend, struct thread *thread, int64_t result);
#define ONCE_MORE INT64_MIN /* instead of a result: the call is to be made again */

/* told.c: the trace, as strace would write it */
size_t told_calls(long *numbers);
void told_attached(pid_t tid);
void told_begin(struct thread *thread);
void told_call(const struct thread *thread, int64_t result, int injected);
void told_signal(pid_t tid);
void told_end(pid_t tid, int status);

#endif
