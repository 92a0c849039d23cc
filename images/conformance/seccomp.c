/* seccomp: what sandboxes and container engines need. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

static long install(struct sock_filter *filter, unsigned short length, unsigned int flags)
{
	struct sock_fprog program = {length, filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		cannot("PR_SET_NO_NEW_PRIVS");
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (result < 0 && (errno == ENOSYS || errno == EINVAL))
		skips("the kernel has no seccomp filters, or not this kind");
	return result;
}

#define ONE_CALL(number, action)                                                                   \
	{                                                                                          \
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),             \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                               \
		BPF_STMT(BPF_RET | BPF_K, (action)),                                               \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),                                      \
	}

/* Let a filter decide about getppid. */
static long filter_getppid(unsigned int action, unsigned int flags)
{
	struct sock_filter filter[] = ONE_CALL(SYS_getppid, action);
	long result = install(filter, 4, flags);
	if (result < 0)
		cannot("seccomp");
	return result;
}

PROBE(refuse, "seccomp/errno", "A filter makes a call fail with an errno.", "seccomp(2)")
{
	filter_getppid(SECCOMP_RET_ERRNO | EDOM, 0);
	demand_errno(syscall(SYS_getppid), EDOM, "getppid");
	DEMAND(syscall(SYS_getpid) > 0, "another call fails");
}

static int call_killed(void)
{
	filter_getppid(SECCOMP_RET_KILL_PROCESS, 0);
	syscall(SYS_getppid);
	return 1;
}

PROBE(kill_process, "seccomp/kill-process", "SECCOMP_RET_KILL_PROCESS ends the process by SIGSYS.",
	"seccomp(2)")
{
	demand_equal(in_child(call_killed), 128 + SIGSYS, "the end of the child");
}

static siginfo_t told;

static void note(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	told = *info;
}

PROBE(trap, "seccomp/trap",
	"SECCOMP_RET_TRAP raises SIGSYS with the number, the architecture and the data of the "
	"filter.",
	"seccomp(2)")
{
	on_signal(SIGSYS, note, 0);
	filter_getppid(SECCOMP_RET_TRAP | 77, 0);
	syscall(SYS_getppid);
	demand_equal(told.si_signo, SIGSYS, "the signal");
	demand_equal(told.si_code, 1, "si_code");
	demand_equal(told.si_syscall, SYS_getppid, "si_syscall");
	demand_equal((long)told.si_arch, (long)ARCHITECTURE, "si_arch");
	demand_equal(told.si_errno, 77, "si_errno");
	DEMAND(told.si_call_addr, "si_call_addr is 0");
}

PROBE(architecture, "seccomp/architecture", "A filter sees the architecture of the call.",
	"seccomp(2), struct seccomp_data")
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
	};
	if (install(filter, 6, 0))
		cannot("seccomp");
	demand_errno(syscall(SYS_getppid), EDOM, "getppid");
}

PROBE(arguments, "seccomp/arguments", "A filter sees both halves of a 64-bit argument.",
	"seccomp(2), struct seccomp_data")
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x9abcdef0, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x12345678, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	if (install(filter, 8, 0))
		cannot("seccomp");
	demand_errno(syscall(SYS_getppid, 0x123456789abcdef0L), EDOM, "getppid");
	DEMAND(syscall(SYS_getppid, 0x9abcdef0L) > 0, "a call with another upper half fails");
}

#ifdef __x86_64__
extern const char after_getppid[];

/* Call getppid at a known place. */
__attribute__((noinline)) static long call_getppid(void)
{
	long result = SYS_getppid;
	__asm__ volatile("syscall\n.globl after_getppid\nafter_getppid:"
		: "+a"(result)::"rcx", "r11", "memory");
	return result;
}

PROBE(call_address, "seccomp/trap-address", "si_call_addr of SIGSYS is the place after the call.",
	"sigaction(2): the address of the system call instruction; kernel/seccomp.c: KSTK_EIP")
{
	on_signal(SIGSYS, note, 0);
	filter_getppid(SECCOMP_RET_TRAP, 0);
	call_getppid();
	demand_equal(
		(long)(uintptr_t)told.si_call_addr, (long)(uintptr_t)after_getppid, "si_call_addr");
}

PROBE(instruction, "seccomp/instruction-pointer", "A filter sees the place of the call.",
	"seccomp(2), struct seccomp_data")
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)(uintptr_t)after_getppid, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
	};
	if (install(filter, 6, 0))
		cannot("seccomp");
	demand_equal(call_getppid(), -EDOM, "the result of the call");
}
#endif

static int child_refused(void)
{
	return syscall(SYS_getppid) == -1 && errno == EDOM ? 0 : 1;
}

PROBE(inherited, "seccomp/inherited", "A child of fork has the filters of its parent.",
	"seccomp(2)")
{
	filter_getppid(SECCOMP_RET_ERRNO | EDOM, 0);
	demand_equal(in_child(child_refused), 0, "the end of the child");
}

PROBE(strongest, "seccomp/precedence", "Of two filters the stricter action counts.", "seccomp(2)")
{
	filter_getppid(SECCOMP_RET_ERRNO | EDOM, 0);
	filter_getppid(SECCOMP_RET_ALLOW, 0);
	demand_errno(syscall(SYS_getppid), EDOM, "getppid");
}

static int read_strictly(void)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 77;
	syscall(SYS_getppid);
	return 1;
}

PROBE(strict, "seccomp/strict",
	"In strict mode another call than read, write and exit kills by SIGKILL.", "seccomp(2)")
{
	int end = in_child(read_strictly);
	if (end == 77)
		skips("the kernel has no seccomp");
	demand_equal(end, 128 + SIGKILL, "the end of the child");
}

static pthread_barrier_t barrier;

static void *call_in_thread(void *result)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	*(int *)result = child_refused();
	return NULL;
}

PROBE(all_threads, "seccomp/tsync", "SECCOMP_FILTER_FLAG_TSYNC gives the filter to all threads.",
	"seccomp(2)")
{
	pthread_t thread;
	int result = -1;
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, call_in_thread, &result);
	pthread_barrier_wait(&barrier);
	filter_getppid(SECCOMP_RET_ERRNO | EDOM, SECCOMP_FILTER_FLAG_TSYNC);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	demand_equal(result, 0, "what the other thread found");
}

static int listener_of_child;

static int supervise(int listener)
{
	struct seccomp_notif request;
	struct seccomp_notif_resp answer;
	memset(&request, 0, sizeof request);
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request))
		return 1;
	answer = (struct seccomp_notif_resp){.id = request.id, .val = 4711};
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) ? 2 : 0;
}

static void *supervise_thread(void *result)
{
	*(int *)result = supervise(listener_of_child);
	return NULL;
}

PROBE(notify, "seccomp/user-notify", "SECCOMP_RET_USER_NOTIF lets a supervisor answer a call.",
	"seccomp_unotify(2)")
{
	pthread_t thread;
	int result = -1;
	struct sock_filter filter[] = ONE_CALL(SYS_getppid, SECCOMP_RET_USER_NOTIF);
	listener_of_child = (int)install(filter, 4, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	if (listener_of_child < 0)
		cannot("seccomp");
	pthread_create(&thread, NULL, supervise_thread, &result);
	long got = syscall(SYS_getppid);
	pthread_join(thread, NULL);
	demand_equal(result, 0, "what the supervisor found");
	demand_equal(got, 4711, "the result of the call");
}

PROBE(traced, "seccomp/trace",
	"SECCOMP_RET_TRACE stops for a tracer with PTRACE_EVENT_SECCOMP and its data.",
	"seccomp(2), ptrace(2)")
{
	int status;
	unsigned long data = 0;
	pid_t child = fork();
	if (!child) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(99);
		raise(SIGSTOP);
		filter_getppid(SECCOMP_RET_TRACE | 99, 0);
		syscall(SYS_getppid);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		cannot("waitpid");
	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
	ptrace(PTRACE_CONT, child, 0, 0);
	waitpid(child, &status, 0);
	demand_equal(status >> 8, SIGTRAP | PTRACE_EVENT_SECCOMP << 8, "the event");
	ptrace(PTRACE_GETEVENTMSG, child, 0, &data);
	demand_equal((long)data, 99, "the data of the event");
}

static int call_trace_action(void)
{
	filter_getppid(SECCOMP_RET_TRACE, 0);
	return syscall(SYS_getppid) == -1 && errno == ENOSYS ? 0 : 1;
}

PROBE(no_tracer, "seccomp/trace-without-tracer",
	"Without a tracer SECCOMP_RET_TRACE makes the call fail with ENOSYS.", "seccomp(2)")
{
	demand_equal(in_child(call_trace_action), 0, "the end of the child");
}

PROBE(available, "seccomp/available-actions",
	"SECCOMP_GET_ACTION_AVAIL knows SECCOMP_RET_ERRNO, and refuses an unknown action.",
	"seccomp(2)")
{
	unsigned int known = SECCOMP_RET_ERRNO, unknown = 0x12340000;
	long result = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &known);
	if (result && (errno == ENOSYS || errno == EINVAL))
		skips("the kernel has no seccomp filters");
	demand_errno(result, 0, "seccomp");
	demand_errno(
		syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &unknown), EOPNOTSUPP, "seccomp");
}

PROBE(mode_told, "seccomp/status", "/proc/self/status tells the mode of seccomp.",
	"proc_pid_status(5)")
{
	char line[256];
	int mode = -1;
	filter_getppid(SECCOMP_RET_ERRNO | EDOM, 0);
	FILE *status = fopen("/proc/self/status", "r");
	if (!status)
		skips("there is no /proc");
	while (fgets(line, sizeof line, status))
		sscanf(line, "Seccomp: %d", &mode);
	demand_equal(mode, 2, "the mode");
}
