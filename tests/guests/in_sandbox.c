/* Tries to reach the host from a sandbox: argv[1] is a file of the host, argv[2] a process of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_to(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	printf("write %s: %s\n", path, fd < 0 || write(fd, "x", 1) < 0 ? strerror(errno) : "done");
}

/* Only ask: a setting of the host must not be changed, whatever the sandbox allows. */
static void ask_for(const char *path)
{
	printf("may write %s: %s\n", path, access(path, W_OK) ? strerror(errno) : "yes");
}

/* Try to remove what makes /proc/sys read-only, as root of a user namespace of one's own. */
static void unprotect(void)
{
	fflush(stdout);
	if (fork() == 0) {
		unshare(CLONE_NEWUSER);
		unshare(CLONE_NEWNS);
		umount2("/proc/sys", MNT_DETACH);
		mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL);
		mount("proc", "/proc", "proc", 0, NULL);
		ask_for("/proc/sys/kernel/core_pattern");
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

int main(int argc, char **argv)
{
	char line[256];
	int interfaces = 0;
	if (argc < 3)
		return 8;
	printf("file of the host: %s\n", access(argv[1], F_OK) ? strerror(errno) : "there");
	printf("process of the host: %s\n", kill(atoi(argv[2]), 0) ? strerror(errno) : "there");
	FILE *file = fopen("/proc/net/dev", "r");
	while (file && fgets(line, sizeof line, file))
		interfaces += strchr(line, ':') && !strstr(line, " lo:");
	printf("interfaces: %d\n", interfaces);
	write_to("/share/written");
	write_to("/init");
	write_to("/etc/passwd");
	write_to("kept");
	ask_for("/proc/sys/kernel/core_pattern");
	ask_for("/proc/sys/vm/overcommit_memory");
	ask_for("/proc/sysrq-trigger");
	ask_for("/proc/irq/default_smp_affinity");
	unprotect();
	char *heap = mmap((void *)0xf800000000, 64 << 20, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap != (char *)0xf800000000)
		return 9;
	heap[0] = 1;
	return 0;
}
