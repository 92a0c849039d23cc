#include "arguments.h"
#include "check.h"
#include "frames.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int read_from(struct arguments *arguments, const void *bytes, size_t length)
{
	int ends[2];
	CHECK(pipe(ends) == 0);
	CHECK(write(ends[1], bytes, length) == (ssize_t)length);
	close(ends[1]);
	int error = arguments_read(arguments, ends[0], FRAME_ARGUMENTS);
	close(ends[0]);
	return error;
}

static void words_end_with_a_nul_byte(void)
{
	static const char frame[] = "v\x06\0\0\0--\0\0x"; /* the last NUL ends the literal */
	struct arguments arguments;
	CHECK(read_from(&arguments, frame, sizeof frame) == 0);
	CHECK(arguments.count == 3 && !arguments.words[3]);
	CHECK(!strcmp(arguments.words[0], "--") && !strcmp(arguments.words[1], ""));
	CHECK(!strcmp(arguments.words[2], "x"));
	arguments_free(&arguments);
	CHECK(read_from(&arguments, "v\0\0\0\0", 5) == 0);
	CHECK(arguments.count == 0 && !arguments.words[0]);
	arguments_free(&arguments);
}

static void other_bytes_are_refused(void)
{
	unsigned char header[FRAME_HEADER];
	struct arguments arguments;
	CHECK(read_from(&arguments, "n\x01\0\0\0", 6) == -EPROTO);
	CHECK(read_from(&arguments, "v\x01\0\0\0x", 6) == -EPROTO);
	CHECK(read_from(&arguments, "v\x02\0\0\0x", 6) == -ENODATA);
	CHECK(read_from(&arguments, "v", 1) == -ENODATA);
	frame_header(header, FRAME_ARGUMENTS, MOST_ARGUMENTS + 1);
	CHECK(read_from(&arguments, header, sizeof header) == -EPROTO);
}

int main(void)
{
	words_end_with_a_nul_byte();
	other_bytes_are_refused();
	return 0;
}
