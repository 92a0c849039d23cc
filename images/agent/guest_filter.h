/* The system calls that the process of a UML guest never makes. They are refused, so that a hostile
 * kernel cannot attack that of the host through them. */
#ifndef FOOTHOLD_GUEST_FILTER_H
#define FOOTHOLD_GUEST_FILTER_H

/* Refuse them in this process and all its children. Needs no_new_privs. The calls fail:
 *   EPERM         calls that administer the machine, load code into its kernel, or watch others;
 *                 clone(2) with a new namespace
 *   EAFNOSUPPORT  socket(2) of another family than AF_UNIX
 *   ENOSYS        clone3(2), whose flags a filter cannot read: libc then uses clone(2); the calls
 *                 of another architecture (i386 and x32 on x86-64)
 * Returns 0, or a negative errno. */
int guest_filter_install(void);

#endif
