#include "check.h"
#include "fuzz.h"
#include "newc.h"
#include "newc_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *archive = malloc(size ? size : 1); /* of that size: reads behind it are seen */
	struct newc_entry entry;
	size_t at = 0, before = 0;
	CHECK(archive);
	if (size)
		memcpy(archive, data, size);
	while (newc_next(archive, size, &at, &entry) == 1) {
		CHECK(at > before && at <= size);
		CHECK(entry.name >= archive && entry.name + strlen(entry.name) < archive + size);
		CHECK(entry.data >= archive && entry.data + entry.size <= archive + size);
		before = at;
	}
	free(archive);
	return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *buffer, size_t room)
{
	size_t end = 0;
	if (number > 1 || room < 2048)
		return 0;
	end = newc_write(buffer, end, "share", 040755, NULL, 0);
	end = newc_write(buffer, end, "share/key", 0100600, "0123456789", 10);
	if (number)
		end = newc_write(buffer, end, "TRAILER!!!", 0, NULL, 0);
	end = newc_write(buffer, end, "link", 0120777, "target", 6);
	return newc_write(buffer, end, "TRAILER!!!", 0, NULL, 0);
}
