/* A program of calls is a list of steps; a step is a call with its arguments. main.c runs programs,
 * mapping.c and signals.c have the calls.
 *
 * All addresses are pages of one area at a fixed address, so that they mean the same in every
 * guest.
 */
#ifndef INTERPRETER_H
#define INTERPRETER_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	AREA_PAGES = 24,
	FILES = 2, /* files in memory, of FILE_PAGES pages at the start */
	FILE_PAGES = 8,
	MOST_WORDS = 8, /* of a step */
};
#define AREA ((char *)0x1000000000) /* in the 39 bits of an old UML kernel */

/* The words of a step, its name first. A missing word is "". */
struct step {
	const char *words[MOST_WORDS];
};

/* A name and its value: tables end with a name that is NULL. */
struct constant {
	const char *name;
	long value;
};

/* A kind of step: its name, and what runs it. */
struct call {
	const char *name;
	void (*run)(const struct step *step);
};
extern const struct call mapping_calls[], signal_calls[]; /* end with a name that is NULL */

#define PRINTF __attribute__((format(printf, 1, 2)))

/* Append to the answer of the current step. */
PRINTF void answer(const char *format, ...);
/* Append the result of a call: its number, or the name of the error in errno for -1. */
void answer_result(long result);
/* End the whole program: its text makes no sense. */
_Noreturn void reject(const char *what, const char *word);

/* Read a word of a step: a number; the sum of constants that are joined with +. */
long number(const struct step *step, int word);
long flags(const struct step *step, int word, const struct constant *table);

size_t page_size(void);
/* Return the address of a page of the area, or the name of an address. */
char *page(const struct step *step, int word);
const char *place(const void *address);
/* The file descriptor of a file in memory. */
int file_number(long file);

/* Read or write a byte; answer with its value, or with the fault. */
void touch(volatile char *address, bool writes, char value);
/* Say what the area holds: its mappings, and the first byte of each page. */
void answer_area(void);

/* Catch all signals, or only those with the default action; `always` unblocks faults as well. */
void catch_signals(bool always);

/* signals.c: what touch() needs to end after a fault. `fault_jump` is where a handler jumps to;
 * with `brief_faults` it answers only with the first letter of the signal and the code.
 */
extern sigjmp_buf fault_jump;
extern volatile sig_atomic_t fault_expected, brief_faults;
const char *signal_name(int number);

/* What the interpreter shares with the processes of a program. */
struct shared {
	int length;            /* of text */
	bool open;             /* the last item of text has no end yet */
	volatile int done;     /* the call that is being interrupted has returned */
	volatile int released; /* the call had to be ended, after the signal */
	volatile int handled;  /* handlers that have run */
	char text[16384];      /* items of a JSON array */
};
extern struct shared *shared;

#endif
