/* Random numbers of the host, for a kernel that has no good source of its own. */
#ifndef FOOTHOLD_RANDOM_SEED_H
#define FOOTHOLD_RANDOM_SEED_H

#define SEED_DIGITS 64 /* hexadecimal, of 32 bytes */

/* Seed the kernel with these digits. Calls die() on failure. */
void seed_random(const char *digits);

#endif
