/* Reads archives in the newc format of cpio, as the kernel's initramfs has them. */
#ifndef FOOTHOLD_NEWC_H
#define FOOTHOLD_NEWC_H

#include <stddef.h>
#include <stdint.h>

/* An entry; its pointers lie within the archive. */
struct newc_entry {
	const char *name; /* ends with a NUL byte */
	uint32_t mode;    /* as in stat(2) */
	const char *data;
	size_t size; /* bytes of data */
};

/* Read the entry at offset AT of an archive, or of several archives in a row, and move AT behind
 * it. Trailers and padding are skipped. Returns 1, 0 at the end, or -EINVAL if the bytes are not an
 * archive. Format: Documentation/driver-api/early-userspace/buffer-format.rst */
int newc_next(const char *archive, size_t length, size_t *at, struct newc_entry *entry);

#endif
