#include "check.h"
#include "seal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* RFC 7693, as `hashlib.blake2s(bytes(range(n)), key=bytes(range(32)))` prints it. */
static void codes_are_those_of_the_standard(void)
{
	static const struct {
		size_t length;
		unsigned char code[8];
	} known[] = {
		{0, {0x48, 0xa8, 0x99, 0x7d, 0xa4, 0x07, 0x87, 0x6b}},
		{1, {0x40, 0xd1, 0x5f, 0xee, 0x7c, 0x32, 0x88, 0x30}},
		{63, {0xc6, 0x53, 0x82, 0x51, 0x3f, 0x07, 0x46, 0x0d}},
		{64, {0x89, 0x75, 0xb0, 0x57, 0x7f, 0xd3, 0x55, 0x66}},
		{65, {0x21, 0xfe, 0x0c, 0xeb, 0x00, 0x52, 0xbe, 0x7f}},
		{128, {0x0c, 0x31, 0x1f, 0x38, 0xc3, 0x5a, 0x4f, 0xb9}},
		{255, {0x3f, 0xb7, 0x35, 0x06, 0x1a, 0xbc, 0x51, 0x9d}},
	};
	unsigned char key[BLAKE2S_KEY], data[256], code[32];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)i;
	memcpy(key, data, sizeof key);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		struct blake2s hash;
		blake2s_begin(&hash, key, 32);
		blake2s_add(&hash, data, known[i].length);
		blake2s_end(&hash, code);
		CHECK(!memcmp(code, known[i].code, sizeof known[i].code));
	}
}

static void a_code_does_not_depend_on_the_pieces(void)
{
	unsigned char key[BLAKE2S_KEY] = {7}, data[300] = {1, 2, 3}, whole[32], pieces[32];
	for (size_t size = 1; size < 200; size++) {
		struct blake2s hash;
		blake2s_begin(&hash, key, 32);
		blake2s_add(&hash, data, sizeof data);
		blake2s_end(&hash, whole);
		blake2s_begin(&hash, key, 32);
		for (size_t at = 0; at < sizeof data; at += size)
			blake2s_add(&hash, data + at,
				sizeof data - at < size ? sizeof data - at : size);
		blake2s_end(&hash, pieces);
		CHECK(!memcmp(whole, pieces, sizeof whole));
	}
}

static void two_frames_with_the_same_payload_have_two_seals(void)
{
	struct sealer sealer = {{1, 2, 3}, 0};
	unsigned char header[FRAME_HEADER], first[SEAL], second[SEAL];
	frame_header(header, FRAME_STDOUT, 3);
	seal_frame(&sealer, header, "abc", 3, first);
	seal_frame(&sealer, header, "abc", 3, second);
	CHECK(sealer.frames == 2 && memcmp(first, second, SEAL) != 0);
}

static int read_from(const void *bytes, size_t length, struct sealer *sealer)
{
	int ends[2];
	CHECK(pipe(ends) == 0);
	CHECK(write(ends[1], bytes, length) == (ssize_t)length);
	close(ends[1]);
	int error = sealer_read_key(sealer, ends[0]);
	close(ends[0]);
	return error;
}

static void a_key_is_read_from_its_frame_only(void)
{
	static const char key[] = "n\x20\0\0\0abcdefghijklmnopqrstuvwxyz012345";
	struct sealer sealer = {{0}, 9};
	CHECK(read_from(key, sizeof key - 1, &sealer) == 0);
	CHECK(sealer.frames == 0 && !memcmp(sealer.key, key + 5, sizeof sealer.key));
	CHECK(read_from(key, 20, &sealer) == -ENODATA);
	CHECK(read_from("i\x20\0\0\0", 5, &sealer) == -EPROTO);
	CHECK(read_from("n\x1f\0\0\0", 5, &sealer) == -EPROTO);
}

int main(void)
{
	codes_are_those_of_the_standard();
	a_code_does_not_depend_on_the_pieces();
	two_frames_with_the_same_payload_have_two_seals();
	a_key_is_read_from_its_frame_only();
	return 0;
}
