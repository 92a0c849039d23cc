#define _GNU_SOURCE
#include "write_execute.h"

#include "mman.h"
#include "syscall_filter.h"
#include "syscall_regs.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>

/* include/uapi/linux/prctl.h, since Linux 6.3 */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* As seccomp_memory_deny_write_execute() of systemd (src/shared/seccomp-util.c). */
static const struct refused_call refused[] = {
	{SYS_mmap, 2, PROT_WRITE | PROT_EXEC, EPERM},
	{SYS_mprotect, 2, PROT_EXEC, EPERM},
	{SYS_pkey_mprotect, 2, PROT_EXEC, EPERM},
	{SYS_shmat, 2, SHM_EXEC, EPERM},
/* the arguments of this call are in memory: the filter cannot see them */
#ifdef __i386__
	{__NR_mmap, 0, 0, EPERM},
#elif defined __x86_64__
	{OLD_MMAP, 0, 0, EPERM},
#endif
};

int write_execute_prctl(void)
{
	return prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0 ? errno : 0;
}

int write_execute_refuse(bool traced)
{
	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	return install_refusals(refused, sizeof refused / sizeof *refused, traced);
}
