/* Linked into an agent (ld --wrap=fork): every fork fails. */
#include <errno.h>
#include <sys/types.h>

pid_t __wrap_fork(void);

pid_t __wrap_fork(void)
{
	errno = EAGAIN;
	return -1;
}
