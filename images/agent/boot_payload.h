/* The boot payload: what a QEMU guest gets over the line before its hello: random numbers, the
 * time, files.
 *
 * The agent sends READY. The host answers with one line, `payload SEED SECONDS LENGTH`, and LENGTH
 * bytes of newc archives, which are unpacked over the root. SEED has 64 hexadecimal digits, SECONDS
 * and LENGTH are padded to 17 and 12 characters: the line always has the same length and is read in
 * one call (under emulation a call for each byte costs 10 ms).
 *
 * A snapshot of the guest may be taken while it waits here, and restored more than once, later. So
 * everything that must differ between two guests (the seed of their random numbers, the keys of
 * their SSH server) and everything that must be current (the clock, the files under test) comes
 * after that. */
#ifndef FOOTHOLD_BOOT_PAYLOAD_H
#define FOOTHOLD_BOOT_PAYLOAD_H

/* Receive the payload. Calls die() on failure. */
void boot_payload_receive(int line);

#endif
