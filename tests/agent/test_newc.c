#include "check.h"
#include "newc.h"
#include "newc_writer.h"

#include <errno.h>

static uint8_t archive[4096];
static const char *bytes = (const char *)archive;

static void reads_directories_files_and_links(void)
{
	struct newc_entry entry;
	size_t at = 0, end = newc_write(archive, 0, "share", 040755, NULL, 0);
	end = newc_write(archive, end, "share/key", 0100600, "secret", 6);
	end = newc_write(archive, end, "TRAILER!!!", 0, NULL, 0);
	memset(archive + end, 0, 512); /* padding, then another archive */
	end = newc_write(archive, end + 512, "bin", 0120777, "usr/bin", 7);
	end = newc_write(archive, end, "TRAILER!!!", 0, NULL, 0);
	CHECK(newc_next(bytes, end, &at, &entry) == 1);
	CHECK(!strcmp(entry.name, "share") && entry.mode == 040755 && entry.size == 0);
	CHECK(newc_next(bytes, end, &at, &entry) == 1);
	CHECK(!strcmp(entry.name, "share/key") && entry.mode == 0100600 && entry.size == 6);
	CHECK(!memcmp(entry.data, "secret", 6));
	CHECK(newc_next(bytes, end, &at, &entry) == 1);
	CHECK(!strcmp(entry.name, "bin") && entry.mode == 0120777);
	CHECK(!memcmp(entry.data, "usr/bin", 7));
	CHECK(newc_next(bytes, end, &at, &entry) == 0 && at == end);
}

static void an_empty_archive_has_no_entry(void)
{
	struct newc_entry entry;
	size_t at = 0;
	CHECK(newc_next(NULL, 0, &at, &entry) == 0);
}

/* Write one entry, spoil a byte of its header, and read it. */
static int read_spoilt(size_t offset, char byte)
{
	struct newc_entry entry;
	size_t at = 0, end = newc_write(archive, 0, "file", 0100644, "data", 4);
	archive[offset] = (uint8_t)byte;
	return newc_next(bytes, end, &at, &entry);
}

static void rejects_what_is_not_an_archive(void)
{
	enum { SIZE = 6 + 8 * 6, NAME_SIZE = 6 + 8 * 11 };
	CHECK(read_spoilt(0, '1') == -EINVAL);             /* the magic number */
	CHECK(read_spoilt(SIZE, 'F') == -EINVAL);          /* longer than the archive */
	CHECK(read_spoilt(SIZE + 7, 'g') == -EINVAL);      /* not a digit */
	CHECK(read_spoilt(NAME_SIZE + 7, '0') == -EINVAL); /* no name */
	CHECK(read_spoilt(NAME_SIZE + 7, '4') == -EINVAL); /* its NUL byte is missing */
	CHECK(read_spoilt(NAME_SIZE, 'F') == -EINVAL);     /* a name behind the end */
}

static void rejects_an_archive_that_is_cut(void)
{
	size_t whole = newc_write(archive, 0, "file", 0100644, "data", 4);
	for (size_t length = 1; length < whole; length++) {
		struct newc_entry entry;
		size_t at = 0;
		/* of that size, so that AddressSanitizer sees what is read behind it */
		char *copy = malloc(length);
		CHECK(copy);
		memcpy(copy, archive, length);
		CHECK(newc_next(copy, length, &at, &entry) == -EINVAL);
		free(copy);
	}
}

int main(void)
{
	reads_directories_files_and_links();
	an_empty_archive_has_no_entry();
	rejects_what_is_not_an_archive();
	rejects_an_archive_that_is_cut();
	return 0;
}
