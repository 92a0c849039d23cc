#include "newc.h"

#include <errno.h>
#include <string.h>

#define HEADER 110     /* bytes: a magic number and 13 fields */
#define MAGIC "070701" /* newc without checksums */
#define TRAILER "TRAILER!!!"

enum field { MODE = 1, FILE_SIZE = 6, NAME_SIZE = 11 };

/* Parse the 8 hexadecimal digits of a field. Returns 0 or -EINVAL. */
static int parse_field(const char *header, enum field field, uint32_t *value)
{
	const char *digits = header + strlen(MAGIC) + 8 * (size_t)field;
	*value = 0;
	for (int i = 0; i < 8; i++) {
		char digit = digits[i];
		uint32_t nibble;
		if (digit >= '0' && digit <= '9')
			nibble = (uint32_t)(digit - '0');
		else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
			nibble = (uint32_t)((digit | 0x20) - 'a' + 10);
		else
			return -EINVAL;
		*value = *value << 4 | nibble;
	}
	return 0;
}

/* 64 bits: sums of sizes do not overflow on a machine of 32 bits either. */
static uint64_t aligned(uint64_t offset)
{
	return (offset + 3) & ~(uint64_t)3;
}

/* Read the entry at AT, be it a trailer. Returns 0 or -EINVAL. */
static int read_entry(const char *archive, size_t length, size_t *at, struct newc_entry *entry)
{
	const char *header = archive + *at;
	uint32_t size, name_size;
	if (length - *at < HEADER || memcmp(header, MAGIC, strlen(MAGIC)) != 0)
		return -EINVAL;
	if (parse_field(header, MODE, &entry->mode) < 0 ||
		parse_field(header, FILE_SIZE, &size) < 0 ||
		parse_field(header, NAME_SIZE, &name_size) < 0)
		return -EINVAL;
	uint64_t name = (uint64_t)*at + HEADER, data = aligned(name + name_size);
	if (data + size > length || name_size == 0 || archive[name + name_size - 1])
		return -EINVAL;
	entry->name = archive + name;
	entry->data = archive + data;
	entry->size = size;
	uint64_t next = aligned(data + size);
	*at = next < length ? (size_t)next : length;
	return 0;
}

int newc_next(const char *archive, size_t length, size_t *at, struct newc_entry *entry)
{
	for (;;) {
		while (*at < length && !archive[*at]) /* padding between archives */
			++*at;
		if (*at == length)
			return 0;
		int error = read_entry(archive, length, at, entry);
		if (error)
			return error;
		if (strcmp(entry->name, TRAILER) != 0)
			return 1;
	}
}
