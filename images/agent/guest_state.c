/* One pass with few system calls: each is expensive in a UML guest. */
#define _GNU_SOURCE
#include "guest_state.h"

#include "output.h"
#include "setting_watch.h"
#include "util.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static const char *const settings[] = {
	"/proc/sys/vm/max_map_count",
	"/proc/sys/vm/overcommit_memory",
	"/proc/sys/vm/mmap_min_addr",
	"/proc/sys/vm/legacy_va_layout",
	"/proc/sys/vm/mmap_rnd_bits",
	"/proc/sys/kernel/randomize_va_space",
	"/proc/sys/kernel/pid_max",
};

/* Lines of /proc/meminfo, which one read returns. CommitLimit shows overcommit_ratio and
 * overcommit_kbytes. See proc_meminfo(5). */
static const char *const totals[] = {"SwapTotal:", "CommitLimit:", "HugePages_Total:"};

/* A file that was replaced or changed, or over which another one was mounted, shows it here. */
static const char *const files[] = {
	"/", "/init", "/bin/sh", "/etc", "/usr/bin", "/dev/null", "/sys/fs/cgroup"};

static struct {
	char text[2048]; /* a UML line stalls at 4,095 unread bytes */
	size_t filled;
} state;

static char written[512]; /* settings that were written during the watch */

__attribute__((format(printf, 1, 2))) static void add(const char *format, ...)
{
	va_list values;
	size_t room = sizeof state.text - state.filled;
	va_start(values, format);
	int length = vsnprintf(state.text + state.filled, room, format, values);
	va_end(values);
	if (length > 0)
		state.filled += (size_t)length < room ? (size_t)length : room - 1;
}

/* Not read_file(): a setting is short, and its end needs no second read. The descriptor is closed
 * when the agent exits. */
static void add_setting(const char *path)
{
	char value[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t length = read(fd, value, sizeof value - 1);
	value[length > 0 ? length : 0] = 0;
	add("%s\t%.*s\n", path, (int)strcspn(value, "\n"), value);
}

static void add_totals(void)
{
	char text[4096];
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	text[length > 0 ? length : 0] = 0;
	for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
		const char *line = strstr(text, totals[i]);
		const char *value = line ? line + strlen(totals[i]) : "";
		value += strspn(value, " ");
		add("/proc/meminfo %s\t%.*s\n", totals[i], (int)strcspn(value, "\n"), value);
	}
}

/* Where a cgroup was left behind, its parent has one link more. */
static void add_file(const char *path)
{
	struct stat status;
	if (stat(path, &status) < 0)
		return;
	add("%s\t%llx:%llu mode %o owner %u links %u size %lld changed %lld\n", path,
		(unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
		status.st_mode, status.st_uid, (unsigned)status.st_nlink, (long long)status.st_size,
		(long long)status.st_mtim.tv_sec);
}

void guest_state_begin_watch(void)
{
	setting_watch_begin();
}

void guest_state_end_watch(void)
{
	setting_watch_end(written, sizeof written);
}

/* When the guest was booted, by its clock, in milliseconds. */
static void add_clock(void)
{
	struct timespec now, since;
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_MONOTONIC, &since);
	add("clock\t%lld\n", (long long)(now.tv_sec - since.tv_sec) * 1000 +
				     (now.tv_nsec - since.tv_nsec) / 1000000);
}

void guest_state_send(const char *moment)
{
	struct utsname names;
	state.filled = 0;
	add("%s\n", moment);
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
		add_setting(settings[i]);
	add_totals();
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		add_file(files[i]);
	if (uname(&names) == 0)
		add("hostname\t%s\n", names.nodename);
	add_clock();
	add("written\t%s\n", written);
	hold_frame(FRAME_GUEST_STATE, state.text, state.filled);
}
