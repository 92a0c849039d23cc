#define _GNU_SOURCE
#include "account.h"

#include "util.h"

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELDS 7 /* passwd(5): name, password, UID, GID, comment, home, shell */

/* Split a line at its colons. Returns how many fields it has. */
static size_t split(char *line, char *fields[FIELDS])
{
	size_t count = 0;
	while (line && count < FIELDS)
		fields[count++] = strsep(&line, ":");
	return count;
}

static char *read_table(const char *root, const char *name)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/etc/%s", root, name);
	return read_file(path, NULL);
}

static bool parse_id(const char *text, uint64_t *id)
{
	return parse_number(text, id) == 0 && *id < UINT32_MAX;
}

/* Take the entry from the fields of a line of passwd, if it is that of the user. */
static bool take_entry(
	char *fields[FIELDS], const char *name, uint64_t number, struct account *account)
{
	uint64_t uid, gid;
	if (!parse_id(fields[2], &uid) || !parse_id(fields[3], &gid))
		return false;
	if (strcmp(fields[0], name) != 0 && uid != number)
		return false;
	account->uid = (uid_t)uid;
	account->gid = (gid_t)gid;
	snprintf(account->name, sizeof account->name, "%s", fields[0]);
	snprintf(account->home, sizeof account->home, "%s", fields[5]);
	return true;
}

static bool find_entry(const char *root, const char *name, uint64_t number, struct account *account)
{
	char *table = read_table(root, "passwd"), *rest = NULL, *fields[FIELDS];
	bool found = false;
	for (char *line = table ? strtok_r(table, "\n", &rest) : NULL; line && !found;
		line = strtok_r(NULL, "\n", &rest))
		if (split(line, fields) == FIELDS)
			found = take_entry(fields, name, number, account);
	free(table);
	return found;
}

/* A user without an entry has no name, and no list has it. */
static bool is_member(char *members, const char *name)
{
	if (!*name)
		return false;
	for (char *member; (member = strsep(&members, ","));)
		if (!strcmp(member, name))
			return true;
	return false;
}

static void find_groups(const char *root, struct account *account)
{
	char *table = read_table(root, "group"), *rest = NULL, *fields[FIELDS];
	uint64_t gid;
	account->group[0] = account->gid;
	account->groups = 1;
	for (char *line = table ? strtok_r(table, "\n", &rest) : NULL;
		line && account->groups < MOST_GROUPS; line = strtok_r(NULL, "\n", &rest))
		if (split(line, fields) == 4 && parse_id(fields[2], &gid) &&
			is_member(fields[3], account->name))
			account->group[account->groups++] = (gid_t)gid;
	free(table);
}

int account_find(const char *root, const char *name, struct account *account)
{
	uint64_t number;
	bool is_number = parse_id(name, &number);
	*account = (struct account){.uid = 0};
	if (!find_entry(root, name, is_number ? number : UINT64_MAX, account)) {
		if (!is_number)
			return -ENOENT;
		account->uid = (uid_t)number;
		account->gid = (gid_t)number;
	}
	find_groups(root, account);
	return 0;
}

int account_become(const struct account *account)
{
	if (setgroups(account->groups, account->group) < 0 ||
		setresgid(account->gid, account->gid, account->gid) < 0 ||
		setresuid(account->uid, account->uid, account->uid) < 0)
		return -errno;
	if (*account->home)
		setenv("HOME", account->home, 1);
	if (*account->name) {
		setenv("USER", account->name, 1);
		setenv("LOGNAME", account->name, 1);
	}
	return 0;
}
