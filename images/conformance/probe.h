/* A probe asks the kernel one question to which a written ABI gives the answer.
 *
 * It runs in a process of its own. It ends by calling conforms(), differs() or skips(), from any
 * process or signal handler, or by returning, which is conforms(). The first answer counts.
 */
#ifndef PROBE_H
#define PROBE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct probe {
	const char *name;   /* GROUP/QUESTION */
	const char *demand; /* what the ABI demands, one sentence */
	const char *source; /* where that is written */
	void (*run)(void);
	bool alone; /* it may end or hang its guest: a run of a group leaves it out */
};

#define PROBE_OF(function, probe_name, demands, written_in, is_alone)                              \
	static void function(void);                                                                \
	static const struct probe function##_probe = {.name = (probe_name),                        \
		.demand = (demands),                                                               \
		.source = (written_in),                                                            \
		.run = function,                                                                   \
		.alone = (is_alone)};                                                              \
	static const struct probe *const function##_entry                                          \
		__attribute__((used, section("probes"))) = &function##_probe;                      \
	static void function(void)

/* Define a probe. Its body follows. */
#define PROBE(function, name, demands, written_in)                                                 \
	PROBE_OF(function, name, demands, written_in, false)
/* Define a probe that may end or hang its guest. */
#define LONE_PROBE(function, name, demands, written_in)                                            \
	PROBE_OF(function, name, demands, written_in, true)

#define PRINTF __attribute__((format(printf, 1, 2)))

/* Give the answer, with what was measured, and end this process. errno is reported with it. */
_Noreturn PRINTF void conforms(const char *format, ...);
_Noreturn PRINTF void differs(const char *format, ...);
/* The question does not arise here: the processor or the kernel lacks an optional feature. */
_Noreturn PRINTF void skips(const char *format, ...);
/* The probe itself cannot be done: a call that it needs has failed. It is reported as a difference.
 */
_Noreturn void cannot(const char *what);

/* Report a number with the answer. */
void set_value(long value);

#define DEMAND(condition, ...)                                                                     \
	do {                                                                                       \
		if (!(condition))                                                                  \
			differs(__VA_ARGS__);                                                      \
	} while (0)

/* Demand that a call fails with an error, or succeeds if `error` is 0. */
void demand_errno(long result, int error, const char *call);
/* Demand that a number is as wanted. */
void demand_equal(long actual, long wanted, const char *what);

/* Map fresh private memory of so many pages, or end the probe. */
void *map_pages(size_t pages, int protection);
size_t page_size(void);
/* Make a file in memory of so many pages, which may be sealed. */
int file_of(size_t pages);
/* Map a file, to read and write. */
char *map_file(int file, size_t pages, int flags);
/* Whether /proc/self/maps shows an address. */
bool is_mapped(uintptr_t address);

/* Install a handler with SA_SIGINFO and further flags, or end the probe. */
typedef void (*handler)(int, siginfo_t *, void *);
void on_signal(int number, handler handle, int flags);

/* Run `action` and tell which signal it raised: 0 for none. The rest is what the handler was given.
 */
struct fault {
	int number, code;
	void *address;
	unsigned long trap, error, cr2, ip;
};
struct fault fault_of(void (*action)(void *), void *argument);
struct fault fault_of_read(const void *address);
struct fault fault_of_write(void *address);
struct fault fault_of_call(void *address);
void demand_fault(struct fault fault, int number, int code, const void *address);

/* Wait for a child, or end the probe; return its wait status. */
int wait_for(pid_t child);
/* Fork; in the child run `action`, whose result is the exit status. */
pid_t start(int (*action)(void));
/* Run `action` in a child; return its exit status, or 128 + signal. */
int in_child(int (*action)(void));

/* What the program does when a probe of exec has started it again; returns its exit status. */
int executed(const char *what);

void sleep_ms(int milliseconds);
double now(void); /* seconds, CLOCK_MONOTONIC by system call */

#endif
