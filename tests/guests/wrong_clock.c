/* Lets all of a process see another time of day: it is preloaded, and asks the kernel itself. */
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int is_wrong(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

int clock_gettime(clockid_t clock, struct timespec *found)
{
	int result = (int)syscall(SYS_clock_gettime, clock, found);

	if (result == 0 && is_wrong(clock))
		found->tv_sec += WRONG;
	return result;
}

int gettimeofday(struct timeval *found, void *zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	found->tv_sec = now.tv_sec;
	found->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *found)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (found)
		*found = now.tv_sec;
	return now.tv_sec;
}
