/* Kernel modules of a guest. */
#ifndef FOOTHOLD_KERNEL_MODULE_H
#define FOOTHOLD_KERNEL_MODULE_H

/* Load a module from a file. Returns 0, also if it is loaded already, or a negative errno. */
int load_module(const char *file);

#endif
