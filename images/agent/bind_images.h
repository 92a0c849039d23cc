/* Mounts images of runtimes in a guest at the place that they have on the host, read-only: their
 * programs name loader and libraries by that place. */
#ifndef FOOTHOLD_BIND_IMAGES_H
#define FOOTHOLD_BIND_IMAGES_H

/* Mount what /share/shown lists, one per line:
 *   TYPE SOURCE DIRECTORY   `hostfs none /...` in UML, `squashfs /dev/vda /...` in QEMU,
 *                           `bind /... /...`
 *   module none FILE        a kernel module that such a mount needs
 * What fails is reported on the console; the guest goes on. */
void bind_images(void);

#endif
