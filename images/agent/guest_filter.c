#define _GNU_SOURCE
#include "guest_filter.h"

#include "syscall_regs.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMESPACES                                                                                 \
	(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | \
		CLONE_NEWCGROUP)
#define X32_CALLS 0x40000000 /* and above: asm/unistd.h of x86 */
#define MOST_STATEMENTS 200
#define LINEAR 4 /* so many numbers are compared one after the other */

/* Numbers that older headers lack. They are the same on all architectures. */
enum {
	IO_URING_SETUP = 425,
	IO_URING_ENTER,
	IO_URING_REGISTER,
	OPEN_TREE,
	MOVE_MOUNT,
	FSOPEN,
	FSCONFIG,
	FSMOUNT,
	FSPICK,
	PIDFD_GETFD = 438,
	MOUNT_SETATTR = 442,
	QUOTACTL_FD,
	MEMFD_SECRET = 447,
	CLONE3 = 435
};

static const int refused[] = {
	/* mounts and namespaces */
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_unshare,
	SYS_setns,
	OPEN_TREE,
	MOVE_MOUNT,
	FSOPEN,
	FSCONFIG,
	FSMOUNT,
	FSPICK,
	MOUNT_SETATTR,
	/* code in the kernel, and another kernel */
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_bpf,
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif
	/* the machine */
	SYS_reboot,
	SYS_swapon,
	SYS_swapoff,
	SYS_acct,
	SYS_quotactl,
	QUOTACTL_FD,
	SYS_syslog,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_clock_adjtime,
	SYS_adjtimex,
	SYS_vhangup,
#ifdef SYS_iopl
	SYS_iopl,
	SYS_ioperm,
#endif
	/* other processes, and files by number */
	SYS_perf_event_open,
	SYS_kcmp,
	PIDFD_GETFD,
	SYS_name_to_handle_at,
	SYS_open_by_handle_at,
	SYS_fanotify_init,
	SYS_fanotify_mark,
	/* large parts of the kernel that UML does not use */
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_userfaultfd,
	IO_URING_SETUP,
	IO_URING_ENTER,
	IO_URING_REGISTER,
	MEMFD_SECRET,
	SYS_mbind,
	SYS_set_mempolicy,
	SYS_migrate_pages,
	SYS_move_pages,
};
#define REFUSED (sizeof refused / sizeof *refused)

/* The statements of a filter while it is written. */
struct code {
	struct sock_filter statement[MOST_STATEMENTS];
	unsigned short count;
};

static void add(struct code *code, struct sock_filter statement)
{
	code->statement[code->count++] = statement;
}

static void load(struct code *code, size_t offset)
{
	add(code, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
}

/* Skip COUNT statements unless the loaded value compares so. */
static void skip_unless(struct code *code, unsigned short comparison, unsigned value, int count)
{
	add(code, (struct sock_filter)BPF_JUMP(
			  (unsigned short)(BPF_JMP | comparison), value, 0, (unsigned char)count));
}

static void fail(struct code *code, int error)
{
	add(code, (struct sock_filter)BPF_STMT(
			  BPF_RET, SECCOMP_RET_ERRNO | ((unsigned)error & SECCOMP_RET_DATA)));
}

static void allow(struct code *code)
{
	add(code, (struct sock_filter)BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW));
}

/* The low half of the first argument, which holds all flags and families. */
static size_t first_argument(void)
{
	size_t low = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 4;
	return offsetof(struct seccomp_data, args) + low;
}

static int compare_numbers(const void *one, const void *other)
{
	return *(const int *)one - *(const int *)other;
}

/* Refuse the loaded number if it is one of these, which are sorted, and allow all others. By
 * bisection: the kernel runs the filter at each call of a program in UML in seccomp mode, whose own
 * filter cannot be cached. 60 comparisons made a cell of uml-7.2 3 % slower. */
static void search(struct code *code, const int *sorted, size_t count)
{
	if (count > LINEAR) {
		size_t lower = count / 2;
		struct sock_filter *upper = &code->statement[code->count];
		add(code, (struct sock_filter)BPF_JUMP(
				  BPF_JMP | BPF_JGE, (unsigned)sorted[lower], 0, 0));
		unsigned short begins = code->count;
		search(code, sorted, lower);
		upper->jt = (unsigned char)(code->count - begins);
		search(code, sorted + lower, count - lower);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		skip_unless(code, BPF_JEQ, (unsigned)sorted[i], 1);
		fail(code, EPERM);
	}
	allow(code);
}

static void write_filter(struct code *code)
{
	int sorted[REFUSED];
	memcpy(sorted, refused, sizeof refused);
	qsort(sorted, REFUSED, sizeof *sorted, compare_numbers);
	load(code, offsetof(struct seccomp_data, arch));
	add(code, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, AUDIT_ARCH_HERE, 1, 0));
	fail(code, ENOSYS);
	load(code, offsetof(struct seccomp_data, nr));
	skip_unless(code, BPF_JGE, X32_CALLS, 1);
	fail(code, ENOSYS);
	skip_unless(code, BPF_JEQ, CLONE3, 1);
	fail(code, ENOSYS);
	skip_unless(code, BPF_JEQ, SYS_clone, 4);
	load(code, first_argument());
	skip_unless(code, BPF_JSET, NAMESPACES, 1);
	fail(code, EPERM);
	allow(code);
#ifdef SYS_socket /* i386 may lack it: it has socketcall(2) */
	skip_unless(code, BPF_JEQ, SYS_socket, 4);
	load(code, first_argument());
	skip_unless(code, BPF_JEQ, AF_UNIX, 1);
	allow(code);
	fail(code, EAFNOSUPPORT);
#endif
	search(code, sorted, REFUSED);
}

int guest_filter_install(void)
{
	struct code code = {.count = 0};
	if (!AUDIT_ARCH_HERE)
		return 0;
	write_filter(&code);
	struct sock_fprog program = {code.count, code.statement};
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}
