/* Feeds bytes to the reader in pieces, and consumes frames whole or in parts. */
#include "check.h"
#include "frames.h"
#include "fuzz.h"

#include <string.h>

/* Consume all frames. Returns false if the bytes are not frames. */
static int consume(struct frame_reader *reader)
{
	struct frame frame;
	int found;
	while ((found = frame_first(reader, &frame)) > 0) {
		size_t filled = reader->filled, size = FRAME_HEADER + frame.length;
		CHECK(size <= filled && frame.payload == reader->buffer + FRAME_HEADER);
		if (frame.kind == FRAME_INPUT && frame.length > 1) { /* a part of it is taken */
			unsigned char last = frame.payload[frame.length - 1];
			frame_shorten(reader, frame.length - 1);
			CHECK(frame_first(reader, &frame) == 1 && frame.length == 1);
			CHECK(frame.payload[0] == last);
		}
		frame_remove(reader);
		CHECK(reader->filled == filled - size);
	}
	return found == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame_reader buffer, *reader = &buffer;
	reader->filled = 0;
	for (size_t at = 0; at < size;) {
		size_t piece = 1 + data[at] % 64u;
		if (piece > size - at)
			piece = size - at;
		memcpy(reader->buffer + reader->filled, data + at, piece);
		reader->filled += piece;
		at += piece;
		if (!consume(reader) || reader->filled > sizeof reader->buffer / 2)
			break;
	}
	return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *buffer, size_t room)
{
	static const char seed[] =
		"i\x06\0\0\0hello\nm\0\0\0\0w\x04\0\0\0\x32\0\x84\0c\0\0\0\0k\0\0\0";
	if (number > 0 || room < sizeof seed)
		return 0;
	memcpy(buffer, seed, sizeof seed);
	return sizeof seed;
}
