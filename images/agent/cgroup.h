/* The memory cgroup: the limit of our own, and one for a subject. */
#ifndef FOOTHOLD_CGROUP_H
#define FOOTHOLD_CGROUP_H

#include <stdint.h>

/* Mount the hierarchy that has the memory controller. For PID 1, before anything else is mounted on
 * /sys/fs/cgroup. Silent if the kernel has none. */
void cgroup_mount(void);

struct memory_cgroup {
	int version;     /* 2 or 1; 0: no memory controller */
	long long limit; /* bytes; -1: no limit */
};

/* The cgroup of this process. */
struct memory_cgroup cgroup_own(void);

/* Make a cgroup with a limit in bytes, inside another one with the same limit: a subject may change
 * its own. Sets DIRECTORY, which the caller frees.
 * Returns 0 or a negative errno; then nothing was made. -ENOENT: no memory controller. */
int cgroup_create(uint64_t limit, char **directory);
/* Move this process into the cgroup. Returns 0 or a negative errno. */
int cgroup_join(const char *directory);
/* Leave this process, which has joined its cgroup, no way to the others: in namespaces of its own
 * nothing is mounted that shows them. Returns the version, or a negative errno. */
int cgroup_hide(void);
/* Mount the hierarchy again, with the own cgroup as its root; behind chroot(2). Returns 0 or a
 * negative errno. */
int cgroup_show(int version);
/* Remove a cgroup whose processes have ended. Waits at most half a second for the kernel. */
void cgroup_remove(const char *directory);

#endif
