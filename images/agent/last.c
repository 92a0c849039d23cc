/* The maps of a subject that ends by itself: the last that can be seen of it.
 *
 * strace cannot hold it. So a seccomp filter of ours has it wait, at exit_group alone, until we have
 * read them (SECCOMP_RET_USER_NOTIF); its children wait there as well, and are let go at once. The
 * filter is made by the subject, before its exec, and handed to us over the socket by which it
 * reports. A kernel that has no such thing does without. Who traces it himself (bend.c) needs none. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define OURS AUDIT_ARCH_X86_64
#elif defined __i386__
#define OURS AUDIT_ARCH_I386
#elif defined __aarch64__
#define OURS AUDIT_ARCH_AARCH64
#elif defined __riscv
#define OURS AUDIT_ARCH_RISCV64
#endif

/* In the child: from here on it waits before it ends. Answers the filter's other end, or -1. */
int last_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ, OURS, 0, 3), /* another machine's calls have other numbers */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* Space for one descriptor beside a message. */
union beside {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr aligned;
};

/* In the child: report TEXT, and with it the filter, if there is one. */
void last_hand_over(int report, int filter, const char *text)
{
	union beside beside = { .bytes = { 0 } };
	struct iovec bytes = { (char *)text, strlen(text) };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };
	if (filter >= 0) {
		message.msg_control = &beside;
		message.msg_controllen = sizeof beside;
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof filter);
		memcpy(CMSG_DATA(head), &filter, sizeof filter);
	}
	sendmsg(report, &message, MSG_NOSIGNAL);
	if (filter >= 0)
		close(filter);
}

/* As read(2): what the child reports. */
int last_receive(int report, char *text, size_t room, int *filter)
{
	union beside beside;
	struct iovec bytes = { text, room };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &beside,
		.msg_controllen = sizeof beside };
	int got = (int)recvmsg(report, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
		memcpy(filter, CMSG_DATA(head), sizeof *filter);
	return got;
}

/* Thread TID is about to end its process: if that is the subject, send its maps. */
void last_send(pid_t pid, pid_t tid)
{
	char path[64];
	size_t length = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)tid);
	if (access(path, F_OK) < 0)
		return;
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	char *maps = slurp(path, &length);
	if (maps)
		send_frame('l', maps, length);
	free(maps);
}

/* Something waits to end: let it, having looked. If nobody is left who could, the filter is closed. */
void last_hear(int *filter, pid_t pid, int somebody)
{
	struct seccomp_notif waits;
	memset(&waits, 0, sizeof waits);
	if (!somebody) {
		close(*filter);
		*filter = -1;
		return;
	}
	if (ioctl(*filter, SECCOMP_IOCTL_NOTIF_RECV, &waits) < 0)
		return; /* it was killed meanwhile */
	last_send(pid, (pid_t)waits.pid);
	struct seccomp_notif_resp go = { .id = waits.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	ioctl(*filter, SECCOMP_IOCTL_NOTIF_SEND, &go);
}
