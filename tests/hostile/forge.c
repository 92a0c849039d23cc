/* Tries to write false evidence: on the pipes of the processes that watch it (its ancestors and its
 * tracer, no others), into their memory, and by tracing them. It prints what it could do, and exits
 * with 7. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(int fd, char kind, const char *text)
{
	unsigned char head[5] = {(unsigned char)kind};
	size_t length = strlen(text);
	for (int i = 0; i < 4; i++)
		head[1 + i] = (unsigned char)(length >> 8 * i);
	if (write(fd, head, sizeof head) < 0 || write(fd, text, length) < 0)
		perror("write");
}

/* A program that reserved memory high, as the agent would report it without seals. */
static void forge_frames(int fd)
{
	char trace[512], maps[512];
	snprintf(trace, sizeof trace,
		"%d mmap(0xf800000000, 67108864, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, "
		"-1, 0) = 0xf800000000\n%d exit_group(0) = ?\n%d +++ exited with 0 +++\n",
		getpid(), getpid(), getpid());
	snprintf(maps, sizeof maps, "f800000000-f804000000 rw-p 00000000 00:00 0 \n");
	put(fd, 't', trace);
	put(fd, 'l', maps);
	put(fd, 'x', "{\"status\":0,\"signal\":0}");
}

static void attack_descriptors(pid_t pid)
{
	char path[300], target[256];
	struct stat status;
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *directory = opendir(path);
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory));) {
		snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
		ssize_t length = readlink(path, target, sizeof target - 1);
		if (length < 0)
			continue;
		target[length] = 0;
		printf("read the descriptor %s of %d: %s\n", entry->d_name, pid, target);
		int fd = open(path, O_WRONLY | O_NONBLOCK);
		if (fd < 0 || fstat(fd, &status) < 0 || !S_ISFIFO(status.st_mode))
			continue;
		printf("opened the descriptor %s of %d\n", entry->d_name, pid);
		forge_frames(fd);
	}
	closedir(directory);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int taken = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, 1, 0);
	if (taken >= 0)
		printf("took descriptor 1 of %d\n", pid);
}

int main(int argc, char **argv);

static void attack_memory(pid_t pid)
{
	char path[64], byte;
	struct iovec local = {&byte, 1}, remote = {(void *)&main, 1};
	/* not maps and environ: from Linux 6.16 on, CAP_PERFMON suffices for them */
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	if (open(path, O_RDONLY) >= 0)
		printf("opened the memory of %d\n", pid);
	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0 || errno == EFAULT)
		printf("read the memory of %d\n", pid);
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0)
		printf("traced %d\n", pid);
}

static pid_t number_in_status(pid_t pid, const char *key)
{
	char path[64], line[256];
	pid_t number = 0;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, key, strlen(key)))
			number = atoi(line + strlen(key));
	if (file)
		fclose(file);
	return number;
}

int main(int argc, char **argv)
{
	/* natively the watchers further up are programs of the user's, which are left alone */
	int most = argc > 1 ? atoi(argv[1]) : 1;
	pid_t watcher = getppid(), tracer = number_in_status(getpid(), "TracerPid:");
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 0; i < most && watcher > 0; i++) {
		attack_descriptors(watcher);
		attack_memory(watcher);
		watcher = number_in_status(watcher, "PPid:");
	}
	if (tracer > 0) {
		attack_descriptors(tracer);
		attack_memory(tracer);
	}
	puts("attacked");
	return 7;
}
