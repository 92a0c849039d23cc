#include "blake2s.h"

#include <string.h>

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
	0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const unsigned char order[10][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint32_t rotate(uint32_t word, unsigned bits)
{
	return word >> bits | word << (32 - bits);
}

static uint32_t little_endian(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

static void mix(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d, uint32_t x, uint32_t y)
{
	*a += *b + x;
	*d = rotate(*d ^ *a, 16);
	*c += *d;
	*b = rotate(*b ^ *c, 12);
	*a += *b + y;
	*d = rotate(*d ^ *a, 8);
	*c += *d;
	*b = rotate(*b ^ *c, 7);
}

static void compress(struct blake2s *hash, uint32_t last)
{
	uint32_t v[16], m[16];
	memcpy(v, hash->state, sizeof hash->state);
	memcpy(v + 8, initial, sizeof initial);
	v[12] ^= (uint32_t)hash->hashed;
	v[13] ^= (uint32_t)(hash->hashed >> 32);
	v[14] ^= last;
	for (size_t i = 0; i < 16; i++)
		m[i] = little_endian(hash->block + 4 * i);
	for (size_t round = 0; round < 10; round++) {
		const unsigned char *at = order[round];
		for (size_t i = 0; i < 4; i++)
			mix(v + i, v + 4 + i, v + 8 + i, v + 12 + i, m[at[2 * i]],
				m[at[2 * i + 1]]);
		for (size_t i = 0; i < 4; i++)
			mix(v + i, v + 4 + (i + 1) % 4, v + 8 + (i + 2) % 4, v + 12 + (i + 3) % 4,
				m[at[8 + 2 * i]], m[at[9 + 2 * i]]);
	}
	for (size_t i = 0; i < 8; i++)
		hash->state[i] ^= v[i] ^ v[i + 8];
}

void blake2s_begin(struct blake2s *hash, const unsigned char key[BLAKE2S_KEY], size_t length)
{
	*hash = (struct blake2s){.length = length, .filled = BLAKE2S_BLOCK};
	memcpy(hash->state, initial, sizeof initial);
	hash->state[0] ^= 0x01010000u ^ BLAKE2S_KEY << 8 ^ (uint32_t)length;
	memcpy(hash->block, key, BLAKE2S_KEY); /* the first block is the key and zeros */
}

/* A full block waits until it is known whether it is the last one. */
void blake2s_add(struct blake2s *hash, const void *data, size_t length)
{
	for (const unsigned char *at = data; length > 0;) {
		if (hash->filled == BLAKE2S_BLOCK) {
			hash->hashed += BLAKE2S_BLOCK;
			compress(hash, 0);
			hash->filled = 0;
		}
		size_t room = BLAKE2S_BLOCK - hash->filled, part = length < room ? length : room;
		memcpy(hash->block + hash->filled, at, part);
		hash->filled += part;
		at += part;
		length -= part;
	}
}

void blake2s_end(struct blake2s *hash, unsigned char *code)
{
	hash->hashed += hash->filled;
	memset(hash->block + hash->filled, 0, BLAKE2S_BLOCK - hash->filled);
	compress(hash, UINT32_MAX);
	for (size_t i = 0; i < hash->length; i++)
		code[i] = (unsigned char)(hash->state[i / 4] >> 8 * (i % 4));
}
