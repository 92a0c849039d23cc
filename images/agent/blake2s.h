/* BLAKE2s with a key: a message authentication code. Source: RFC 7693. */
#ifndef FOOTHOLD_BLAKE2S_H
#define FOOTHOLD_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

#define BLAKE2S_KEY 32   /* bytes of a key */
#define BLAKE2S_BLOCK 64 /* bytes */

struct blake2s {
	uint32_t state[8];
	uint64_t hashed; /* bytes of full blocks that were compressed */
	unsigned char block[BLAKE2S_BLOCK];
	size_t filled, length;
};

/* Begin a code of LENGTH bytes, at most 32. */
void blake2s_begin(struct blake2s *hash, const unsigned char key[BLAKE2S_KEY], size_t length);
void blake2s_add(struct blake2s *hash, const void *data, size_t length);
/* Write the code. */
void blake2s_end(struct blake2s *hash, unsigned char *code);

#endif
