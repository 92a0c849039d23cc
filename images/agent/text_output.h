/* The output of `agent run --text`: text for a person instead of frames for the harness.
 *
 * The output of the subject goes to ours unchanged. Between its lines stand `=== maps at
 * CHECKPOINT`, `=== trace`, and last `=== ended {"status":...}`. Without a harness the agent itself
 * recognises the checkpoints of the subject; the supervisor answers them. */
#ifndef FOOTHOLD_TEXT_OUTPUT_H
#define FOOTHOLD_TEXT_OUTPUT_H

#include "frames.h"

#include <stdbool.h>
#include <stddef.h>

/* Write what would be a frame. */
void text_output(enum frame_kind kind, const void *data, size_t length);
/* Is the subject at a checkpoint whose maps were not written yet? */
bool text_output_at_checkpoint(void);
/* Name the checkpoint at which the next maps are read. */
void text_output_set_checkpoint(const char *name);

#endif
