/* Users of the passwd file of a root. The C library could look them up only in the agent's own. */
#ifndef FOOTHOLD_ACCOUNT_H
#define FOOTHOLD_ACCOUNT_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#define MOST_GROUPS 64

struct account {
	uid_t uid;
	gid_t gid;
	char name[64];       /* empty: a number without an entry */
	char home[PATH_MAX]; /* empty: likewise */
	gid_t group[MOST_GROUPS];
	size_t groups;
};

/* Find a user by name or number in ROOT/etc/passwd, with its groups of ROOT/etc/group. A number
 * without an entry is a user with a group of the same number. Returns 0 or -ENOENT. */
int account_find(const char *root, const char *name, struct account *account);
/* Become this user for good, with HOME, USER and LOGNAME. Returns 0 or a negative errno. */
int account_become(const struct account *account);

#endif
