/* The sandbox of a guest's process on the host: it sees only the files that it needs, no other
 * process, and no network.
 *
 * UML reaches host files by hostfs, and root inside a UML guest may mount any directory that the
 * UML process can open. So the process gets user, pid, mount, network and IPC namespaces of its
 * own, a read-only tmpfs as its root, and the listed paths bound into it. It has no capabilities
 * there, and no device. */
#ifndef FOOTHOLD_SANDBOX_H
#define FOOTHOLD_SANDBOX_H

#include <stddef.h>
#include <stdint.h>

enum sandbox_access { READ_ONLY, TREE, EMPTY, MASK, LINK };

struct sandbox_path {
	const char *source, *path; /* source: not of EMPTY and MASK */
	enum sandbox_access access;
	uint64_t size; /* bytes; of EMPTY */
};

struct sandbox {
	struct sandbox_path *path;
	size_t paths; /* 0: no sandbox */
};

/* Parse the option at argv[at], if it is one of these:
 *   --ro PATH            a file or directory of the host with all that is mounted in it, read-only
 *   --tree DIR PATH      the same, at another path
 *   --tmpfs PATH BYTES   an empty directory, executable (UML maps its memory file from there)
 *   --mask PATH          an empty directory or file takes the place of what is bound at PATH
 *   --link TARGET PATH   a symbolic link
 * A path may be below that of an earlier option. Returns how many words it has, 0 if it is another
 * option, or -EINVAL for an invalid size. */
int sandbox_option(struct sandbox *sandbox, int argc, char **argv, int at);
/* Enter the user and pid namespaces of the sandbox: the next child is PID 1 there. Returns 0, or a
 * negative errno; then *STEP is what the host refused. */
int sandbox_begin(const char **step);
/* In that child: enter the other namespaces, and make the root. Returns as sandbox_begin(). */
int sandbox_enter(const struct sandbox *sandbox, const char **step);
/* In that child: fork the guest's process, return in it, and be the init of the namespace until it
 * ends. Everything in the namespace ends with the init. */
void sandbox_fork(void);
/* In the guest's process: give up all capabilities, for good. Calls die() on failure. */
void sandbox_drop_capabilities(void);

#endif
