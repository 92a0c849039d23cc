/* Removes what programs have left in a directory of the agent. */
#ifndef FOOTHOLD_REMOVE_TREE_H
#define FOOTHOLD_REMOVE_TREE_H

/* Remove all that is in an open directory. No link is followed, and no other file system entered.
 * It needs the same memory and descriptors for every depth. Returns 0 or a negative errno: -EXDEV
 * for a file system that is mounted there. */
int empty_directory(int directory);
/* Remove the directory NAME of an open directory, with all that is in it. Returns 0 or a negative
 * errno. */
int remove_tree(int parent, const char *name);

#endif
