/* A fuzz target: libFuzzer's entry point, and the inputs from which to start. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Write the seed of this number into BUFFER. Returns its size; 0: there are no more. */
size_t fuzz_seed(unsigned number, uint8_t *buffer, size_t room);

#endif
