#define _GNU_SOURCE
#include "protection.h"

#include "util.h"

#include <errno.h>
#include <linux/capability.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void protect_process(void)
{
	prctl(PR_SET_DUMPABLE, 0);
}

void unprotect_process(void)
{
	prctl(PR_SET_DUMPABLE, 1);
}

/* A container may have no CAP_SYS_PTRACE to give up. Any other one makes the same difference: a
 * program hardly needs to write to the log of the audit system. */
static const unsigned expendable[] = {CAP_SYS_PTRACE, CAP_AUDIT_WRITE};

struct capabilities {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct sets[2];
};

static bool read_capabilities(struct capabilities *own)
{
	*own = (struct capabilities){.header = {_LINUX_CAPABILITY_VERSION_3, 0}};
	return syscall(SYS_capget, &own->header, own->sets) == 0;
}

static bool has(const struct capabilities *own, unsigned capability)
{
	return own->sets[CAP_TO_INDEX(capability)].permitted & CAP_TO_MASK(capability);
}

/* The capability to give up; -1: none. */
static int expendable_of(const struct capabilities *own)
{
	if (has(own, CAP_SETPCAP))
		for (size_t i = 0; i < sizeof expendable / sizeof *expendable; i++)
			if (has(own, expendable[i]))
				return (int)expendable[i];
	return -1;
}

bool can_weaken_subject(void)
{
	struct capabilities own;
	return read_capabilities(&own) && expendable_of(&own) >= 0;
}

void weaken_subject(void)
{
	struct capabilities own;
	int capability = read_capabilities(&own) ? expendable_of(&own) : -1;
	if (capability < 0)
		return;
	struct __user_cap_data_struct *sets = &own.sets[CAP_TO_INDEX((unsigned)capability)];
	unsigned kept = ~CAP_TO_MASK((unsigned)capability);
	sets->effective &= kept;
	sets->permitted &= kept;
	sets->inheritable &= kept;
	if (prctl(PR_CAPBSET_DROP, capability) < 0 ||
		syscall(SYS_capset, &own.header, own.sets) < 0)
		die(errno, "cannot give up a capability", NULL);
}
