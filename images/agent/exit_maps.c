#define _GNU_SOURCE
#include "exit_maps.h"

#include "output.h"
#include "syscall_filter.h"
#include "util.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int exit_filter_install(void)
{
	struct call_set calls = {{SYS_exit_group}, 1};
	return install_syscall_filter(
		&calls, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

/* Room for one descriptor in a message. */
union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr aligned;
};

int exit_filter_pass(int socket, int listener, const char *text)
{
	union control control = {.bytes = {0}};
	struct iovec bytes = {(char *)text, strlen(text)};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
	if (listener >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof listener);
		memcpy(CMSG_DATA(header), &listener, sizeof listener);
	}
	int error = sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
	if (listener >= 0)
		close(listener);
	return error;
}

ssize_t exit_filter_receive(int socket, char *text, size_t room, int *listener)
{
	union control control;
	struct iovec bytes = {text, room};
	struct msghdr message = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return -errno;
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(listener, CMSG_DATA(header), sizeof *listener);
	return got;
}

void exit_filter_answer(int listener, pid_t leader)
{
	struct seccomp_notif stopped;
	memset(&stopped, 0, sizeof stopped); /* the kernel insists */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &stopped) < 0)
		return; /* it was killed meanwhile */
	exit_maps_send(leader, (pid_t)stopped.pid);
	struct seccomp_notif_resp go = {
		.id = stopped.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go);
}

void exit_maps_send(pid_t leader, pid_t tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)leader, (int)tid);
	if (access(path, F_OK) == 0)
		send_maps(FRAME_EXIT_MAPS, leader);
}
