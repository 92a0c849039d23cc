/* Helpers for memory, files, numbers and fatal errors. */
#ifndef FOOTHOLD_UTIL_H
#define FOOTHOLD_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define EXIT_AGENT 120 /* exit status: the agent itself failed */

/* Name the program in the messages of die(). */
void die_as(const char *program);
/* Print "PROGRAM: ACTION OBJECT: ERROR" and exit with EXIT_AGENT; exit handlers run. */
noreturn void die(int error, const char *action, const char *object);

/* As the functions of libc, but they call die() when there is no memory. */
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
char *xstrndup(const char *text, size_t length);
/* Resize an array. Calls die() if the size overflows. */
void *xreallocarray(void *array, size_t count, size_t size);
/* Make room for one more element in an array of COUNT elements. */
void *grow(void *array, size_t count, size_t size);

/* Write all bytes. Returns 0 or a negative errno. */
int write_all(int fd, const void *data, size_t length);
/* Read exactly LENGTH bytes. Returns 0 or a negative errno; -ENODATA at the end of the file. */
int read_all(int fd, void *data, size_t length);
/* Read a whole file of unknown size (/proc), with a final NUL byte. LENGTH may be NULL.
 * Returns NULL and sets errno if the file cannot be read. The caller frees the text. */
char *read_file(const char *path, size_t *length);
/* Read at most MOST bytes of it, as read_file(). CUT: it has more. */
char *read_beginning(const char *path, size_t most, size_t *length, bool *cut);
/* Read /proc/PID/NAME, as read_file(). */
char *read_process_file(pid_t pid, const char *name, size_t *length);
/* Return the decimal number that follows KEY in a text; 0 if the text is NULL or lacks KEY. */
uint64_t number_after(const char *text, const char *key);
/* Write a short text into an existing file (/proc, /sys). Returns 0 or a negative errno. */
int write_file(const char *path, const char *text);

/* Parse an unsigned number: decimal, octal or hexadecimal, without sign or blanks.
 * Returns 0, -EINVAL or -ERANGE. */
int parse_number(const char *text, uint64_t *value);

#endif
