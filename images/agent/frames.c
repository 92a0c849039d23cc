#include "frames.h"

#include <errno.h>
#include <string.h>

static void put_length(unsigned char *header, size_t length)
{
	for (int i = 0; i < 4; i++)
		header[1 + i] = (unsigned char)(length >> 8 * i);
}

void frame_header(unsigned char header[FRAME_HEADER], enum frame_kind kind, size_t length)
{
	header[0] = (unsigned char)kind;
	put_length(header, length);
}

size_t frame_length(const unsigned char header[FRAME_HEADER])
{
	size_t length = 0;
	for (int i = 0; i < 4; i++)
		length |= (size_t)header[1 + i] << 8 * i;
	return length;
}

int frame_first(const struct frame_reader *reader, struct frame *frame)
{
	if (reader->filled < FRAME_HEADER)
		return 0;
	size_t length = frame_length(reader->buffer);
	if (length > sizeof reader->buffer - FRAME_HEADER)
		return -EPROTO;
	if (reader->filled < FRAME_HEADER + length)
		return 0;
	*frame = (struct frame){reader->buffer[0], reader->buffer + FRAME_HEADER, length};
	return 1;
}

void frame_remove(struct frame_reader *reader)
{
	size_t size = FRAME_HEADER + frame_length(reader->buffer);
	reader->filled -= size;
	memmove(reader->buffer, reader->buffer + size, reader->filled);
}

void frame_shorten(struct frame_reader *reader, size_t count)
{
	unsigned char *payload = reader->buffer + FRAME_HEADER;
	put_length(reader->buffer, frame_length(reader->buffer) - count);
	reader->filled -= count;
	memmove(payload, payload + count, reader->filled - FRAME_HEADER);
}
