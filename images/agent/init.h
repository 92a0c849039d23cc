/* PID 1 of a guest. */
#ifndef FOOTHOLD_INIT_H
#define FOOTHOLD_INIT_H

#include <stdnoreturn.h>

/* agent init: mount what programs expect, send the hello, and carry SSH over the line to the host.
 *
 * The kernel's command line says where things are:
 *   foothold.port=DEVICE   the line to the host (UML: /dev/ttyS0, QEMU: /dev/vport0p1)
 *   foothold.share=DIR     UML only: a directory of the host, mounted read-only on /share
 *   foothold.host=DIR      UML only: the root of the host, mounted read-only on /host for subjects
 *   foothold.run=FILE      a script to run instead of SSH, with the line as its output
 *   foothold.payload=1     QEMU only: /share comes over the line, first of all (boot_payload.h)
 * QEMU guests find their modules (/modules/order) in their initramfs. Images of runtimes are
 * mounted as /share/shown lists them (bind_images.h).
 *
 * The first line that the agent sends, HELLO and the facts of this address space, tells the host
 * that the line is in raw mode and is read. Anything sent earlier would be echoed, or lost. */
noreturn void init_main(void);

/* agent idle: PID 1 of a container. Lives until the end of its standard input, so that the
 * container ends with the harness. */
int idle_main(void);

#endif
