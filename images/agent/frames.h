/* The frames between the harness and `agent run`.
 *
 * A frame is one letter (its kind), a length of 4 bytes (little endian), and that many bytes. Names
 * and values of the kinds are those of FrameKind in harness/transport/frames.py; a test compares
 * the two.
 *
 * A frame to the harness has a seal between the length and the payload: seal.h. */
#ifndef FOOTHOLD_FRAMES_H
#define FOOTHOLD_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

#define FRAME_HEADER 5

enum frame_kind {
	/* from the harness */
	FRAME_ARGUMENTS = 'v', /* those of `agent run`, if its command line has none: arguments.h */
	FRAME_KEY = 'n',       /* the key of the seals, before any other frame but the arguments */
	FRAME_INPUT = 'i',     /* bytes for the standard input of the subject */
	FRAME_CLOSE_INPUT = 'c', /* close the standard input of the subject */
	FRAME_STOP = 'k',        /* stop all its threads, send its maps, and kill it */
	FRAME_RESIZE = 'w',      /* its terminal: rows and columns, 2 bytes each, little endian */
	/* from the harness, on a machine that it reaches by SSH: session.h */
	FRAME_REQUEST = 'q', /* a command of the agent: request.h */
	FRAME_ENTRY = 'a',   /* a file, directory or link to make: placement.h */
	FRAME_CONTENT = 'b', /* bytes of that file */
	/* both ways */
	FRAME_SYNC = 'r', /* a request for what failed of these files, and the answer: text */
	FRAME_MAPS = 'm', /* a request for /proc/PID/maps, and the answer */
	/* to the harness */
	FRAME_READY = 'p',       /* empty: it has the key, nothing of the subject runs yet */
	FRAME_STARTED = 's',     /* {"pid":N,"page_size":N}: the subject starts */
	FRAME_STDOUT = 'o',      /* its standard output */
	FRAME_STDERR = 'e',      /* its standard error */
	FRAME_TRACE = 't',       /* a part of the trace */
	FRAME_EXIT_MAPS = 'l',   /* its maps when it is about to exit */
	FRAME_GUEST_STATE = 'g', /* what a subject could have changed of the guest: guest_state.h */
	FRAME_CUT = 'y',         /* text: which evidence was longer than the agent sends */
	FRAME_FILE = 'd',        /* a file that it has written: its name, NUL, the content */
	FRAME_STOPPED = 'h', /* {"reason":...}: it is stopped; its maps follow, then it is killed */
	FRAME_FAILED = 'f',  /* text: why it was not started; without text: not traced */
	FRAME_REFUSED = 'u', /* text: which limit this guest refuses; nothing was started */
	FRAME_UNKNOWN_USER = 'z', /* text: a user that its root lacks; nothing was started */
	FRAME_ENDED = 'x', /* {"status":...}; this one or one of the three above is the last */
};

/* Write the header of a frame with LENGTH bytes of payload. */
void frame_header(unsigned char header[FRAME_HEADER], enum frame_kind kind, size_t length);
/* The length of the payload behind a header. */
size_t frame_length(const unsigned char header[FRAME_HEADER]);

/* Frames from the harness, assembled from the pieces in which they arrive. */
struct frame_reader {
	unsigned char buffer[65536];
	size_t filled;
};

/* A frame within the buffer of its reader. */
struct frame {
	unsigned char kind;
	const unsigned char *payload;
	size_t length;
};

/* Look at the first frame. Returns 1, 0 if it is not complete yet, or -EPROTO if it is longer than
 * the buffer. */
int frame_first(const struct frame_reader *reader, struct frame *frame);
/* Remove the first frame, which must be complete. */
void frame_remove(struct frame_reader *reader);
/* Remove the first COUNT bytes of the payload of the first frame, which must have them. */
void frame_shorten(struct frame_reader *reader, size_t count);

#endif
