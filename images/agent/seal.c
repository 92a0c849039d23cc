#include "seal.h"

#include "util.h"

#include <errno.h>
#include <string.h>

int sealer_read_key(struct sealer *sealer, int fd)
{
	unsigned char expected[FRAME_HEADER], header[FRAME_HEADER];
	frame_header(expected, FRAME_KEY, BLAKE2S_KEY);
	int error = read_all(fd, header, sizeof header);
	if (error)
		return error;
	if (memcmp(header, expected, sizeof header) != 0)
		return -EPROTO;
	sealer->frames = 0;
	return read_all(fd, sealer->key, sizeof sealer->key);
}

void seal_frame(struct sealer *sealer, const unsigned char header[FRAME_HEADER],
	const void *payload, size_t length, unsigned char seal[SEAL])
{
	struct blake2s hash;
	unsigned char number[8];
	for (int i = 0; i < 8; i++)
		number[i] = (unsigned char)(sealer->frames >> 8 * i);
	sealer->frames++;
	blake2s_begin(&hash, sealer->key, SEAL);
	blake2s_add(&hash, number, sizeof number);
	blake2s_add(&hash, header, FRAME_HEADER);
	blake2s_add(&hash, payload, length);
	blake2s_end(&hash, seal);
}
