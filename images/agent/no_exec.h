/* Refuses to execute the files of a directory, as a mount with the option noexec does: execve(2)
 * of one of them fails with EACCES, and mmap(2) with PROT_EXEC with EPERM. */
#ifndef FOOTHOLD_NO_EXEC_H
#define FOOTHOLD_NO_EXEC_H

/* Give this process mounts of its own. Returns 0 or a negative errno. */
int no_exec_prepare(void);
/* Mount DIRECTORY over itself with noexec, in a process that has mounts of its own. What is mounted
 * below it stays as it is. Returns 0 or a negative errno. */
int no_exec_mount(const char *directory);

#endif
