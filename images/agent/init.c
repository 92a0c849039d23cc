#define _GNU_SOURCE
#include "init.h"

#include "bind_images.h"
#include "boot_payload.h"
#include "cgroup.h"
#include "facts.h"
#include "kernel_module.h"
#include "protection.h"
#include "random_seed.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define HELLO "foothold "
#define PORT_ATTEMPTS 5000 /* 2 ms apart: the device of a module appears after it is loaded */
#define PORT_NAP 2000000   /* nanoseconds */
/* Bytes of dropbear's window on a UML line, which stalls for ever with 4,095 unread bytes. */
#define SERIAL_WINDOW "2500"
/* The console of the harness knows these words: harness/transport/console.py. */
#define KILLED "foothold: a program in the guest has killed the SSH server: signal "

#define MOST_ROUNDS 200 /* a millisecond each */

static pid_t server; /* the process of the SSH server */

/* What the kernel's command line says; NULL: it does not. */
struct boot_options {
	char *port, *share, *host, *script, *payload;
};

/* An exit of PID 1 would be a kernel panic. Children that call die() stop the guest too. */
static void power_off(void)
{
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void mount_or_complain(const char *source, const char *target, const char *type,
	unsigned long flags, const char *data)
{
	if (mount(source, target, type, flags, data) < 0 && errno != EBUSY)
		fprintf(stderr, "foothold: cannot mount %s on %s: %s\n", type, target,
			strerror(errno));
}

/* The value of KEY= on the kernel's command line; NULL: it is not there. */
static char *boot_option(const char *command_line, const char *key)
{
	size_t length = strlen(key);
	for (const char *at = command_line; (at = strstr(at, key)); at += length)
		if ((at == command_line || at[-1] == ' ') && at[length] == '=') {
			const char *value = at + length + 1;
			return xstrndup(value, strcspn(value, " \n"));
		}
	return NULL;
}

static struct boot_options read_boot_options(void)
{
	char *line = read_file("/proc/cmdline", NULL);
	if (!line)
		die(errno, "cannot read", "/proc/cmdline");
	struct boot_options options = {
		.port = boot_option(line, "foothold.port"),
		.share = boot_option(line, "foothold.share"),
		.host = boot_option(line, "foothold.host"),
		.script = boot_option(line, "foothold.run"),
		.payload = boot_option(line, "foothold.payload"),
	};
	free(line);
	return options;
}

/* The root of the host, as the root of a subject. Directories that must be writable are empty;
 * /proc, /sys and /dev are those of this guest. */
static void mount_host(const char *host)
{
	static const char *empty[] = {"tmp", "root", "run", "var/tmp"};
	static const char *own[][2] = {
		{"/proc", "/host/proc"}, {"/sys", "/host/sys"}, {"/dev", "/host/dev"}};
	char target[64];
	mount_or_complain("none", "/host", "hostfs", MS_RDONLY, host);
	for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
		bool private = !strcmp(empty[i], "root");
		snprintf(target, sizeof target, "/host/%s", empty[i]);
		mount_or_complain("tmpfs", target, "tmpfs", 0, private ? "mode=700" : "mode=1777");
	}
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		mount_or_complain(own[i][0], own[i][1], "bind", MS_BIND | MS_REC, NULL);
}

/* Names in /dev that udev would make. */
static void link_streams(void)
{
	static const char *links[][2] = {{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"}};
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			fprintf(stderr, "foothold: cannot link %s: %s\n", links[i][1],
				strerror(errno));
}

/* Servers listen on 127.0.0.1. A kernel without network has no such device. */
static void start_loopback(void)
{
	struct ifreq device = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (ioctl(fd, SIOCGIFFLAGS, &device) == 0) {
		device.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &device) < 0)
			fprintf(stderr, "foothold: cannot start lo: %s\n", strerror(errno));
	}
	close(fd);
}

static void mount_all(const struct boot_options *options)
{
	mount_or_complain("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_or_complain("sysfs", "/sys", "sysfs", 0, NULL);
	cgroup_mount();
	mount_or_complain("tmpfs", "/tmp", "tmpfs", 0, "mode=1777");
	mount_or_complain("tmpfs", "/root", "tmpfs", 0, "mode=700");
	mount_or_complain("tmpfs", "/run", "tmpfs", 0, "mode=755");
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	link_streams();
	mount_or_complain("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666");
	if (options->share)
		mount_or_complain("none", "/share", "hostfs", MS_RDONLY, options->share);
	if (options->host)
		mount_host(options->host);
}

/* Load modules with the modprobe of busybox, which knows their dependencies. A kernel of the user
 * does not take our modules: it has its own, in an initramfs below ours, or built in. */
static void load_own_modules(void)
{
	if (access("/lib/modules", F_OK) < 0 && symlink("/usr/lib/modules", "/lib/modules") < 0)
		fprintf(stderr, "foothold: cannot link /lib/modules: %s\n", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		die(errno, "cannot fork for", "modprobe");
	if (pid == 0) {
		execl("/bin/busybox", "modprobe", "-a", "-q", "virtio_pci", "virtio_console", NULL);
		_exit(127);
	}
	while (wait(NULL) != pid)
		;
}

static void load_modules(void)
{
	char *order = read_file("/modules/order", NULL), *rest = NULL;
	int error = 0;
	for (char *name = order ? strtok_r(order, "\n", &rest) : NULL; name && !error;
		name = strtok_r(NULL, "\n", &rest))
		error = load_module(name);
	free(order);
	if (error)
		load_own_modules();
}

static int open_port(const char *path)
{
	struct timespec nap = {0, PORT_NAP};
	if (!path)
		die(EINVAL, "cannot find", "foothold.port on the kernel's command line");
	for (int i = 0; i < PORT_ATTEMPTS; i++) {
		int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		nanosleep(&nap, NULL);
	}
	die(errno, "cannot open", path);
}

/* Put the line into raw mode if it is serial. Returns whether it is. */
static bool make_raw(int line)
{
	struct termios raw;
	if (tcgetattr(line, &raw) < 0)
		return false;
	cfmakeraw(&raw);
	raw.c_cflag |= CLOCAL | CREAD; /* there is no modem */
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	tcsetattr(line, TCSANOW, &raw);
	return true;
}

/* UML before 6.0 does not take random numbers of the host: getrandom(2) waits for 10 s (measured),
 * and dropbear with it. For such a kernel the share has a seed. */
static void seed_from_share(void)
{
	char *digits = read_file("/share/random-seed", NULL);
	if (digits)
		seed_random(digits);
	free(digits);
}

/* dropbear accepts only a key file of root's. hostfs shows the owner on the host: copy the file. */
static void install_key(void)
{
	static const char from[] = "/share/authorized_keys", to[] = "/root/.ssh/authorized_keys";
	size_t length;
	char *key = read_file(from, &length);
	if (!key)
		die(errno, "cannot read", from);
	mkdir("/root/.ssh", 0700);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int error = fd < 0 ? -errno : write_all(fd, key, length);
	if (error)
		die(-error, "cannot write", to);
	close(fd);
	free(key);
}

/* Start an SSH server. dropbear -i refuses a terminal, so it gets a socket, whose other end is
 * returned. */
static int start_dropbear(const char *window)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die(errno, "cannot make", "a socket pair");
	pid_t pid = fork();
	if (pid < 0)
		die(errno, "cannot fork for", "dropbear");
	if (pid == 0) {
		dup2(pair[0], STDIN_FILENO);
		dup2(pair[0], STDOUT_FILENO);
		setsid();
		/* -s -j -k: keys only, no forwarding */
		execl("/usr/sbin/dropbear", "dropbear", "-i", "-s", "-j", "-k", "-r",
			"/share/hostkey", window ? "-W" : NULL, window, NULL);
		die(errno, "cannot execute", "dropbear");
	}
	server = pid;
	close(pair[0]);
	return pair[1];
}

/* How many processes the kernel has killed for want of memory. */
static uint64_t out_of_memory_kills(void)
{
	char *counts = read_file("/proc/vmstat", NULL);
	uint64_t kills = number_after(counts, "\noom_kill ");
	free(counts);
	return kills;
}

/* Reap what has ended. A killed SSH server means that the guest is lost: nothing else runs in it
 * than the server and a subject. */
static void reap(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != server)
			continue;
		server = 0;
		if (!WIFSIGNALED(status))
			continue;
		if (out_of_memory_kills() > 0)
			die(ENOMEM, "the kernel has killed", "the SSH server");
		fprintf(stderr, KILLED "%d\n", WTERMSIG(status));
		exit(0);
	}
}

/* Carry bytes from the line to dropbear, which is started again for a new session. Exits when the
 * host has closed the line. */
static void carry_to_session(int line, int *session, const char *window)
{
	char buffer[16384];
	ssize_t got = read(line, buffer, sizeof buffer);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		fprintf(stderr, "foothold: the line to the host has ended: %s\n",
			got ? strerror(errno) : "end of file");
		exit(0);
	}
	if (*session < 0)
		*session = start_dropbear(window);
	write_all(*session, buffer, (size_t)got);
}

static void carry_to_line(int line, int *session)
{
	char buffer[16384];
	ssize_t got = read(*session, buffer, sizeof buffer);
	if (got > 0) {
		write_all(line, buffer, (size_t)got);
	} else if (got == 0 || errno != EINTR) {
		close(*session);
		*session = -1;
		/* a process closes its descriptors a moment before it can be reaped */
		for (int i = 0; server && i < MOST_ROUNDS; i++) {
			reap();
			poll(NULL, 0, 1);
		}
	}
}

static noreturn void carry_ssh(int line, const char *window)
{
	enum { LINE, SESSION, SLOTS };
	int session = start_dropbear(window);
	for (;;) {
		struct pollfd slots[SLOTS] = {
			[LINE] = {line, POLLIN, 0},
			[SESSION] = {session, POLLIN, 0},
		};
		int ready = poll(slots, SLOTS, 1000);
		reap();
		if (ready < 0)
			continue;
		if (slots[LINE].revents)
			carry_to_session(line, &session, window);
		if (session >= 0 && slots[SESSION].revents)
			carry_to_line(line, &session);
	}
}

/* Run a script with the line as its output, and power off. A stand-alone reproduction boots so. */
static noreturn void run_script(const char *script, int line)
{
	pid_t pid = fork();
	if (pid < 0)
		die(errno, "cannot fork for", script);
	if (pid == 0) {
		setsid();
		dup2(line, STDOUT_FILENO);
		dup2(line, STDERR_FILENO);
		execl("/bin/sh", "sh", script, NULL);
		die(errno, "cannot run", script);
	}
	for (pid_t ended = 0; ended != pid;)
		ended = wait(NULL);
	tcdrain(line);
	exit(0);
}

noreturn void init_main(void)
{
	die_as("foothold: guest cannot go on");
	atexit(power_off);
	signal(SIGPIPE, SIG_IGN);
	mount_or_complain("proc", "/proc", "proc", 0, NULL);
	struct boot_options options = read_boot_options();
	mount_all(&options);
	start_loopback();
	load_modules();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	int line = open_port(options.port);
	bool serial = make_raw(line);
	if (options.payload)
		boot_payload_receive(line);
	else
		seed_from_share();
	bind_images();
	if (options.script)
		run_script(options.script, line);
	install_key();
	write_all(line, HELLO, strlen(HELLO));
	facts_write(line);
	carry_ssh(line, serial ? SERIAL_WINDOW : NULL);
}

int idle_main(void)
{
	char ignored[64];
	protect_process();        /* a subject may be the same user, with the same capabilities */
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps orphans */
	for (;;) {
		ssize_t got = read(STDIN_FILENO, ignored, sizeof ignored);
		if (got == 0 || (got < 0 && errno != EINTR))
			return 0;
	}
}
