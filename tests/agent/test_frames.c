#include "check.h"
#include "frames.h"

#include <errno.h>
#include <string.h>

static struct frame_reader reader;

static void append(const void *bytes, size_t length)
{
	memcpy(reader.buffer + reader.filled, bytes, length);
	reader.filled += length;
}

static void append_frame(enum frame_kind kind, const char *payload)
{
	unsigned char header[FRAME_HEADER];
	frame_header(header, kind, strlen(payload));
	append(header, sizeof header);
	append(payload, strlen(payload));
}

static void a_header_has_the_kind_and_the_length_in_little_endian(void)
{
	unsigned char header[FRAME_HEADER];
	frame_header(header, FRAME_TRACE, 0x01020304);
	CHECK(!memcmp(header, "t\x04\x03\x02\x01", sizeof header));
}

static void frames_are_read_in_order(void)
{
	struct frame frame;
	reader.filled = 0;
	append_frame(FRAME_INPUT, "hello");
	append_frame(FRAME_STOP, "");
	CHECK(frame_first(&reader, &frame) == 1);
	CHECK(frame.kind == FRAME_INPUT && frame.length == 5 && !memcmp(frame.payload, "hello", 5));
	frame_remove(&reader);
	CHECK(frame_first(&reader, &frame) == 1);
	CHECK(frame.kind == FRAME_STOP && frame.length == 0);
	frame_remove(&reader);
	CHECK(frame_first(&reader, &frame) == 0 && reader.filled == 0);
}

static void a_frame_is_read_when_its_last_byte_is_there(void)
{
	static const char bytes[] = "i\x03\0\0\0abc";
	struct frame frame;
	reader.filled = 0;
	for (size_t i = 0; i < sizeof bytes - 1; i++) {
		CHECK(frame_first(&reader, &frame) == 0);
		append(bytes + i, 1);
	}
	CHECK(frame_first(&reader, &frame) == 1);
}

static void a_frame_that_fills_the_buffer_is_accepted_and_a_longer_one_is_not(void)
{
	struct frame frame;
	size_t most = sizeof reader.buffer - FRAME_HEADER;
	frame_header(reader.buffer, FRAME_INPUT, most);
	reader.filled = sizeof reader.buffer;
	CHECK(frame_first(&reader, &frame) == 1 && frame.length == most);
	frame_header(reader.buffer, FRAME_INPUT, most + 1);
	reader.filled = FRAME_HEADER;
	CHECK(frame_first(&reader, &frame) == -EPROTO);
	frame_header(reader.buffer, FRAME_INPUT, 0xffffffff);
	CHECK(frame_first(&reader, &frame) == -EPROTO);
}

static void a_frame_is_shortened_at_its_front(void)
{
	struct frame frame;
	reader.filled = 0;
	append_frame(FRAME_INPUT, "abcdef");
	append_frame(FRAME_CLOSE_INPUT, "");
	frame_shorten(&reader, 4);
	CHECK(frame_first(&reader, &frame) == 1);
	CHECK(frame.length == 2 && !memcmp(frame.payload, "ef", 2));
	frame_shorten(&reader, 2);
	CHECK(frame_first(&reader, &frame) == 1 && frame.length == 0);
	frame_remove(&reader);
	CHECK(frame_first(&reader, &frame) == 1 && frame.kind == FRAME_CLOSE_INPUT);
}

int main(void)
{
	a_header_has_the_kind_and_the_length_in_little_endian();
	frames_are_read_in_order();
	a_frame_is_read_when_its_last_byte_is_there();
	a_frame_that_fills_the_buffer_is_accepted_and_a_longer_one_is_not();
	a_frame_is_shortened_at_its_front();
	return 0;
}
