/* The sandbox of a guest's process on the host: it sees only the files that it needs, and no
 * network.
 *
 * UML reaches host files by hostfs, and root inside a UML guest may mount any directory that the
 * UML process can open. So the process gets user, mount, network and IPC namespaces of its own, a
 * tmpfs as its root, and the listed paths bound into it under their own names. */
#ifndef FOOTHOLD_SANDBOX_H
#define FOOTHOLD_SANDBOX_H

#include <stddef.h>

enum sandbox_access { READ_ONLY, WRITABLE, EMPTY, TREE };

struct sandbox_path {
	const char *source, *path;
	enum sandbox_access access;
};

struct sandbox {
	struct sandbox_path *path;
	size_t paths; /* 0: no sandbox */
};

/* Parse the option at argv[at], if it is one of these:
 *   --ro PATH, --rw PATH   a file or directory of the host
 *   --tmpfs PATH           an empty directory, executable (UML maps its memory file from there)
 *   --tree DIR PATH        a directory with all that is mounted in it, read-only at PATH
 * Returns how many words it has, or 0 if it is another option. */
int sandbox_option(struct sandbox *sandbox, int argc, char **argv, int at);
/* Enter the sandbox. Returns 0, or a negative errno; then *STEP is what the host refused. */
int sandbox_enter(const struct sandbox *sandbox, const char **step);

#endif
