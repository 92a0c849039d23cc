/* What the supervisor sends on its standard output: frames, or text for a person. */
#ifndef FOOTHOLD_OUTPUT_H
#define FOOTHOLD_OUTPUT_H

#include "frames.h"

#include <stddef.h>
#include <sys/types.h>

#define CHUNK 3500 /* bytes of a payload: a UML serial line stalls at 4,095 unread (measured) */

#define MOST_MAPS (8 << 20) /* bytes of maps that are sent; the harness reads no more */

/* Write text instead of frames from now on. */
void output_as_text(void);
/* Read the key of the seals from this descriptor. Returns 0 or a negative errno. */
int output_read_key(int fd);
/* Send a frame. If the harness is gone, the end of file on standard input says so as well. */
void send_frame(enum frame_kind kind, const void *data, size_t length);
/* Send a frame of at most CHUNK bytes together with the next one: in one packet of SSH. */
void hold_frame(enum frame_kind kind, const void *data, size_t length);
/* Take this directory off the paths in maps from now on: it is the root of the subject. */
void output_set_root(const char *root);
/* Send /proc/PID/maps in a frame of this kind; nothing in it if the process is gone. Beyond
 * MOST_MAPS the maps are cut, and FRAME_CUT precedes them. */
void send_maps(enum frame_kind kind, pid_t pid);

/* Send a part of the trace. Small parts are collected into whole frames, which cost a serial line
 * less. A very long trace is cut. */
void send_trace(const char *text, size_t length);
/* Send what is collected. */
void flush_trace(void);

#endif
