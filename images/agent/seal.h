/* The seal of a frame to the harness proves that the agent wrote it.
 *
 * A program in the guest may find a way to write into the same pipe, but it does not know the key,
 * which the harness chooses for each run of a program and sends in the first frame. The seal is
 * BLAKE2s with that key over the number of the frame (8 bytes, little endian, from 0), its header
 * and its payload. harness/transport/frames.py checks it. */
#ifndef FOOTHOLD_SEAL_H
#define FOOTHOLD_SEAL_H

#include "blake2s.h"
#include "frames.h"

#define SEAL 8 /* bytes */

/* The seals of one run of a program. */
struct sealer {
	unsigned char key[BLAKE2S_KEY];
	uint64_t frames;
};

/* Read the frame with the key. Returns 0 or a negative errno: -EPROTO for another frame. */
int sealer_read_key(struct sealer *sealer, int fd);
/* Write the seal of the next frame. */
void seal_frame(struct sealer *sealer, const unsigned char header[FRAME_HEADER],
	const void *payload, size_t length, unsigned char seal[SEAL]);

#endif
