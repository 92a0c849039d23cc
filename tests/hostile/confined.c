/* A hostile UML kernel: what its process tries against the host.
 *
 *   confined PID               prints one line for each attack: its name, and the error, or "done"
 *   confined TOKEN stay|leave  leaves daemons, and then stays, or ends */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *attack, long result)
{
	printf("%s %s\n", attack, result < 0 ? strerrorname_np(errno) : "done");
}

static void call(const char *attack, long number)
{
	tell(attack, syscall(number, 0, 0, 0, 0, 0));
}

/* All permitted and effective ones. There is no procfs, so the kernel is asked. */
static long capabilities(void)
{
	struct {
		unsigned version;
		int pid;
	} header = {0x20080522, 0};
	unsigned sets[6] = {0};
	syscall(SYS_capget, &header, sets);
	return (long)(sets[0] | sets[1] | sets[3] | sets[4]);
}

/* The same call through the entry point of i386, which numbers it differently: mount is 21. */
static long mount_by_i386(void)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(21), "b"(0), "c"(0), "d"(0) : "memory");
	errno = (int)-result;
	return result < 0 ? -1 : 0;
}

/* Leave processes of sessions of their own, which ignore all signals that they can. */
static void leave_daemons(void)
{
	for (int i = 0; i < 3; i++) {
		if (fork())
			continue;
		setsid();
		if (fork())
			_exit(0);
		for (int number = 1; number < NSIG; number++)
			signal(number, SIG_IGN);
		for (;;)
			pause();
	}
	while (wait(NULL) > 0)
		;
	puts("daemons started");
}

int main(int argc, char **argv)
{
	pid_t outside = argc > 1 ? atoi(argv[1]) : 0;
	setlinebuf(stdout);
	if (argc > 2) {
		leave_daemons();
		return strcmp(argv[2], "stay") ? 0 : pause();
	}
	printf("capabilities %ld\n", capabilities());
	tell("signal-outside", kill(outside, 0));
	tell("signal-init", kill(1, SIGSTOP)); /* the kernel drops it */
	tell("trace-init", ptrace(PTRACE_SEIZE, 1, 0, 0));
	tell("namespace", unshare(CLONE_NEWUSER));
	tell("clone-namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	tell("mount", mount("none", "/dev/shm", "tmpfs", 0, NULL));
	tell("mount-i386", mount_by_i386());
	tell("mount-x32", syscall(0x40000000 | SYS_mount, 0, 0, 0, 0, 0));
	tell("umount", umount2("/proc", MNT_DETACH));
	tell("inet", socket(AF_INET, SOCK_STREAM, 0));
	tell("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
	tell("unix", socket(AF_UNIX, SOCK_STREAM, 0));
	tell("write-root", open("/attack", O_CREAT | O_WRONLY, 0600));
	tell("device", mknod("/dev/shm/null", S_IFCHR | 0666, 0x103));
	call("clone3", SYS_clone3);
	call("bpf", SYS_bpf);
	call("perf", SYS_perf_event_open);
	call("keyctl", SYS_keyctl);
	call("kexec", SYS_kexec_load);
	call("module", SYS_init_module);
	call("handle", SYS_open_by_handle_at);
	call("userfaultfd", SYS_userfaultfd);
	call("io_uring", SYS_io_uring_setup);
	call("fsopen", SYS_fsopen);
	call("syslog", SYS_syslog);
	call("pidfd_getfd", SYS_pidfd_getfd);
	return 0;
}
