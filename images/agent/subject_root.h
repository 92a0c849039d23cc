/* The root of a subject: the files that it brings, laid over the root of its guest.
 *
 * A program runs as it does at home only if everything is where it looks: its interpreter at the
 * path that PT_INTERP names, its libraries where its loader finds them. So the files of the subject
 * lie in an overlay directory at their own absolute paths, and this module merges it with a base
 * into a tmpfs, in a mount namespace of the agent's own. A directory that both have is merged;
 * anything else is bound, the overlay first; symbolic links are copied. A bind mount takes
 * microseconds, and works on kernels without overlayfs (UML). */
#ifndef FOOTHOLD_SUBJECT_ROOT_H
#define FOOTHOLD_SUBJECT_ROOT_H

struct subject_root {
	const char *place;   /* where it is mounted; NULL: the subject has the root of the agent */
	const char *base;    /* a whole root; NULL: / */
	const char *overlay; /* NULL: nothing is laid over it */
	const char *image;   /* an image of the guest that is at the same path; NULL: none */
};

/* Parse the option at argv[at], if it is one of these:
 *   --subject-root PLACE   --base DIR   --overlay DIR   --image DIR
 * Returns how many words it has, or 0 if it is another option. */
int subject_root_option(struct subject_root *root, int argc, char **argv, int at);

/* Return 0 in a guest of ours, -EPERM anywhere else: neither a root nor a working directory of a
 * subject is made on a host. */
int subject_root_check(void);

/* Enter a mount namespace of our own, and make the root in it. /tmp, /var/tmp, /run and /root are
 * empty and writable; so are /home, /var/log, /var/lib and the like if the base is a root of ours.
 * Everything else is read-only, if the base is. The image is there even if it lies below an empty
 * directory, and every user can reach it. Everything vanishes with the last process of the
 * namespace; nothing is removed. Returns 0 or a negative errno; then *STEP says what failed. */
int subject_root_make(const struct subject_root *root, const char **step);

#endif
