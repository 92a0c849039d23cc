/* PID 1 of a guest: mount what a program expects, then carry SSH over the one channel there is.
 *
 * The kernel's command line says where things are:
 *   foothold.port=DEVICE   the line to the host (UML: /dev/ttyS0, QEMU: /dev/vport0p1)
 *   foothold.share=DIR     UML only: a directory of the host, mounted read-only on /share
 *   foothold.host=DIR      UML only: the host's root, mounted read-only on /host for subjects
 *   foothold.run=FILE      a script to run instead of SSH, with the line for its output
 *   foothold.parcel=1      QEMU only: /share comes over the line, before anything else (parcel.c)
 * QEMU guests find their modules (/modules/order) in their initramfs. What else of the host is to be
 * seen stands in /share/shown (show.c).
 *
 * dropbear -i wants a socket and refuses a tty, so a socket pair stands between the two, and the
 * loop below carries bytes. The first line from here, HELLO and what was measured of this
 * address space, says to the host that the line is raw and somebody reads it: what came earlier
 * would have been echoed, or lost. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define HELLO "foothold "

static void give_up(const char *what, const char *subject)
{
	fprintf(stderr, "foothold: guest cannot go on: %s %s: %s\n", what, subject, strerror(errno));
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void mount_or_say(const char *what, const char *where, const char *type, unsigned long flags, const char *data)
{
	if (mount(what, where, type, flags, data) < 0 && errno != EBUSY)
		fprintf(stderr, "foothold: mount %s on %s: %s\n", type, where, strerror(errno));
}

/* The value of KEY= on the kernel's command line, or NULL. */
static char *parameter(const char *cmdline, const char *key)
{
	size_t length = strlen(key);
	for (const char *at = cmdline; (at = strstr(at, key)); at += length)
		if ((at == cmdline || at[-1] == ' ') && at[length] == '=') {
			const char *value = at + length + 1;
			return strndup(value, strcspn(value, " \n"));
		}
	return NULL;
}

/* The host's root, for a subject to have as its own: what must be writable is, and empty; what the
 * kernel tells is this guest's; the share is at /run/share. */
static void mount_host(const char *host)
{
	static const char *ours[] = { "proc", "sys", "dev", "share" };
	static const char *empty[] = { "tmp", "root", "run", "var/tmp" };
	char here[64], there[64];
	mount_or_say("none", "/host", "hostfs", MS_RDONLY, host);
	for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
		snprintf(there, sizeof there, "/host/%s", empty[i]);
		mount_or_say("tmpfs", there, "tmpfs", 0, i == 1 ? "mode=700" : "mode=1777");
	}
	mkdir("/host/run/share", 0755);
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		snprintf(here, sizeof here, "/%s", ours[i]);
		snprintf(there, sizeof there, i == 3 ? "/host/run/%s" : "/host/%s", ours[i]);
		mount_or_say(here, there, "bind", MS_BIND | MS_REC, NULL);
	}
}

/* 1 if the module is there now. */
int load_module(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	int loaded = fd >= 0 && (syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST);
	int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return loaded;
}

/* A kernel of the user's own takes no modules of ours. It has what it needs built in, or brings it in
 * an initramfs of its own, which lies below ours: then busybox knows what depends on what. */
static void load_its_own(void)
{
	if (access("/lib/modules", F_OK) < 0 && symlink("/usr/lib/modules", "/lib/modules") < 0)
		fprintf(stderr, "foothold: cannot link /lib/modules: %s\n", strerror(errno));
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/busybox", "modprobe", "-a", "-q", "virtio_pci", "virtio_console", NULL);
		_exit(127);
	}
	while (wait(NULL) != pid)
		;
}

static void load_modules(void)
{
	char *order = slurp("/modules/order", NULL);
	int loaded = 1;
	for (char *name = order ? strtok(order, "\n") : NULL; name && loaded; name = strtok(NULL, "\n"))
		loaded = load_module(name);
	free(order);
	if (!loaded)
		load_its_own();
}

/* A module's device appears a moment after it is loaded: wait for it, at most ten seconds. */
static int open_port(const char *path)
{
	struct timespec nap = { 0, 2000000 };
	for (int tries = 0; tries < 5000; tries++) {
		int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		nanosleep(&nap, NULL);
	}
	give_up("cannot open", path);
	return -1;
}

/* dropbear trusts only a file of root's: hostfs shows the owner on the host, so take a copy. */
static void install_key(void)
{
	size_t length;
	char *key = slurp("/share/authorized_keys", &length);
	if (!key)
		give_up("cannot read", "/share/authorized_keys");
	mkdir("/root/.ssh", 0700);
	int fd = open("/root/.ssh/authorized_keys", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		give_up("cannot write", "/root/.ssh/authorized_keys");
	write_all(fd, key, length);
	close(fd);
	free(key);
}

static int start_dropbear(const char *window)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		give_up("cannot make", "a socket pair");
	if (fork() == 0) {
		dup2(pair[0], 0);
		dup2(pair[0], 1);
		close(pair[0]), close(pair[1]);
		setsid();
		/* -s -j -k: keys only, no forwarding */
		execl("/usr/sbin/dropbear", "dropbear", "-i", "-s", "-j", "-k", "-r", "/share/hostkey",
		      window ? "-W" : NULL, window, NULL);
		give_up("cannot execute", "dropbear");
	}
	close(pair[0]);
	fcntl(pair[1], F_SETFD, FD_CLOEXEC);
	return pair[1];
}

static void relay(int port, const char *window)
{
	char buffer[16384];
	int session = start_dropbear(window);
	for (;;) {
		struct pollfd fds[2] = { { port, POLLIN, 0 }, { session, POLLIN, 0 } };
		int ready = poll(fds, 2, 1000);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (ready < 0)
			continue;
		if (fds[0].revents) {
			ssize_t got = read(port, buffer, sizeof buffer);
			if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
				fprintf(stderr, "foothold: the line to the host has ended: %s\n",
				        got ? strerror(errno) : "end of file");
				reboot(RB_POWER_OFF); /* the host has closed the line: nobody needs us */
				return;
			}
			if (got > 0 && session < 0)
				session = start_dropbear(window);
			if (got > 0)
				write_all(session, buffer, (size_t)got);
		}
		if (session >= 0 && fds[1].revents) {
			ssize_t got = read(session, buffer, sizeof buffer);
			if (got > 0)
				write_all(port, buffer, (size_t)got);
			else if (got == 0 || errno != EINTR) {
				close(session);
				session = -1;
			}
		}
	}
}

/* Run a script, all that it says going to the line, and power off. Nobody is at the other end but
 * a reader: this is what a stand-alone reproduction boots into. */
static void run_script(const char *script, int line)
{
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		dup2(line, 1);
		dup2(line, 2);
		execl("/bin/sh", "sh", script, NULL);
		give_up("cannot run", script);
	}
	for (pid_t ended = 0; ended != pid;)
		ended = wait(NULL);
	tcdrain(line);
	reboot(RB_POWER_OFF);
}

int init_main(void)
{
	signal(SIGPIPE, SIG_IGN);
	mount_or_say("proc", "/proc", "proc", 0, NULL);
	char *cmdline = slurp("/proc/cmdline", NULL);
	char *port = parameter(cmdline ? cmdline : "", "foothold.port");
	char *share = parameter(cmdline ? cmdline : "", "foothold.share");
	char *host = parameter(cmdline ? cmdline : "", "foothold.host");
	char *script = parameter(cmdline ? cmdline : "", "foothold.run");
	char *parcel = parameter(cmdline ? cmdline : "", "foothold.parcel");
	mount_or_say("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_or_say("sysfs", "/sys", "sysfs", 0, NULL);
	group_mount();
	mount_or_say("tmpfs", "/tmp", "tmpfs", 0, "mode=1777");
	mount_or_say("tmpfs", "/root", "tmpfs", 0, "mode=700");
	mount_or_say("tmpfs", "/run", "tmpfs", 0, "mode=755");
	mkdir("/dev/pts", 0755);
	mount_or_say("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666");
	if (share)
		mount_or_say("none", "/share", "hostfs", MS_RDONLY, share);
	if (host)
		mount_host(host);
	if (!port)
		give_up("no foothold.port on", "the kernel's command line");
	load_modules();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	int line = open_port(port);
	struct termios raw;
	int tty = tcgetattr(line, &raw) == 0;
	if (tty) {
		cfmakeraw(&raw);
		raw.c_cflag |= CLOCAL | CREAD; /* there is no modem */
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		tcsetattr(line, TCSANOW, &raw);
	}
	if (parcel)
		parcel_take(line);
	show_directories();
	if (script)
		run_script(script, line);
	install_key();
	write_all(line, HELLO, strlen(HELLO));
	facts_write(line);
	/* a UML line stalls for ever with 4,095 unread bytes under way: dropbear's window stays below */
	relay(line, tty ? "2500" : NULL);
	return 0;
}

/* PID 1 of a container: live until stdin ends, so that a dead harness leaves no container. */
int idle_main(void)
{
	char nothing[64];
	signal(SIGCHLD, SIG_IGN); /* orphans are reaped by the kernel */
	for (;;) {
		ssize_t got = read(0, nothing, sizeof nothing);
		if (got == 0 || (got < 0 && errno != EINTR))
			return 0;
	}
}
