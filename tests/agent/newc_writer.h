/* Writes archives in the newc format, for tests of the reader. */
#ifndef NEWC_WRITER_H
#define NEWC_WRITER_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Append an entry at offset AT, which must be a multiple of 4; returns the offset behind it. */
static size_t newc_write(uint8_t *archive, size_t at, const char *name, unsigned mode,
	const char *data, unsigned size)
{
	unsigned named = (unsigned)strlen(name) + 1;
	char header[111];
	snprintf(header, sizeof header,
		"070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1u, mode, 0u, 0u, 1u,
		0u, size, 0u, 0u, 0u, 0u, named, 0u);
	memcpy(archive + at, header, 110);
	memcpy(archive + at + 110, name, named);
	size_t end = at + 110 + named;
	for (; end % 4; end++)
		archive[end] = 0;
	if (size)
		memcpy(archive + end, data, size);
	for (end += size; end % 4; end++)
		archive[end] = 0;
	return end;
}

#endif
