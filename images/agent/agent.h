/* The agent: one static program, the arm of the harness wherever something runs.
 *
 *   agent init                    PID 1 of a UML or QEMU guest            (init.c)
 *   agent run  [limits] -- ARGV   supervise a subject, framed             (supervise.c)
 *   agent exec …                  the last step of a traced subject       (trace.c)
 *   agent keep [limits] -- ARGV   own a guest on the host, unframed       (supervise.c)
 *   agent facts [HOW]             measure this address space, as JSON     (facts.c)
 *   agent where                   one place in it: what facts starts to see chance at work
 *   agent idle                    PID 1 of a container: live while stdin  (init.c)
 *
 * `run` and `keep` share one promise: when whoever started them is gone (end of file on
 * stdin, or on the owner's descriptor), everything below them is killed and reaped.
 */
#ifndef FOOTHOLD_AGENT_H
#define FOOTHOLD_AGENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXIT_AGENT 120 /* the agent itself could not do what it was asked */

/* main.c: small things that every part uses */
void fail(const char *what, const char *subject) __attribute__((noreturn));
void write_all(int fd, const void *data, size_t length);
char *slurp(const char *path, size_t *length);
unsigned long long number(const char *text);
char **after_dashes(int argc, char **argv, int at);
int put_text(const char *path, const char *text);

/* limits.c: what narrows a process before its first instruction */
struct limits {
	struct { int resource; unsigned long long value; } rlimit[16];
	int rlimits;
	int cpu;            /* -1: any */
	const char *chroot; /* NULL: the root that there is */
	const char *chdir;  /* NULL: stay */
	const char *env[64];
	int envs;
	unsigned long persona;     /* of personality(2) */
	unsigned long long memory; /* bytes of a cgroup of its own; 0: none */
	char group[256];           /* that cgroup's directory */
	struct { char path[128], before[32]; const char *value; } setting[4];
	int settings;              /* of the whole guest, below /proc/sys */
};
int limits_option(struct limits *limits, int argc, char **argv, int at);
void limits_enter(struct limits *limits);
void limits_apply(const struct limits *limits);
void limits_leave(struct limits *limits);

/* faults.c, bend.c: faults */
#define MOST_FAULTS 16
struct range { uint64_t start, end; };
struct failure { int kind; unsigned nth, seen; int error; };
struct bend {
	struct range occupy[MOST_FAULTS], ignore;
	struct failure fail[MOST_FAULTS];
	int occupied, failures;
	uint64_t ceiling;    /* where the address space ends; 0: where it does */
	int told;            /* a trace is wanted as well */
	int last;            /* and the maps of its leader, before that ends */
	pid_t leader;
	char complaint[256]; /* why the subject was ended, if a fault could not be brought about */
};
int bend_option(struct bend *bend, int argc, char **argv, int at);
int bend_wanted(const struct bend *bend);
void bend_child(const struct bend *bend);
void bend_start(struct bend *bend, pid_t pid);
int bend_stop(struct bend *bend, pid_t tid, int status);

/* confine.c: a guest on the host sees only what it is handed */
struct confinement {
	struct { const char *source, *path; enum { READ_ONLY, WRITABLE, EMPTY, TREE } how; } path[32];
	int paths;
};
int confine_option(struct confinement *confinement, int argc, char **argv, int at);
const char *confine(const struct confinement *confinement);

/* show.c: directories of the host that a guest shows at the same place */
void make_place(const char *root, const char *path, int directory);
void show_directories(void);
int load_module(const char *file); /* of init.c */

/* group.c: the memory cgroup */
struct memory_group {
	int version;     /* 0: there is none here */
	long long limit; /* bytes of our own, -1: none */
};
void group_mount(void);
struct memory_group group_now(void);
void group_make(unsigned long long bytes, char *path, size_t room);
void group_join(const char *path);
void group_remove(const char *path);

/* frames.c: to the harness */
#define CHUNK 3500 /* bytes of a frame: a UML serial line stalls at 4,095 unread (measured) */
void send_frame(char kind, const void *data, size_t length);
void pass_trace(const char *text, size_t length);
void flush_trace(void);

/* children.c: the processes below us */
struct rusage;
int child_signals(void);
void become_subject(pid_t supervisor, int terminal);
int reap(int signals, pid_t leader, struct bend *bend, int *status, struct rusage *usage, int *wanted, int *more);
int sweep(pid_t leader, pid_t spared);

/* last.c: the maps of a subject that ends by itself */
int last_filter(void);
void last_hand_over(int report, int filter, const char *text);
int last_receive(int report, char *text, size_t room, int *filter);
void last_hear(int *filter, pid_t pid, int somebody);
void last_send(pid_t pid, pid_t tid);

/* supervise.c, trace.c: how a subject is started */
struct manner {
	const char *strace;           /* NULL: untraced */
	int last;                     /* its maps are wanted when it is about to end */
	unsigned short rows, columns; /* of its terminal; 0: it has none */
	int plain;                    /* text for a person instead of frames */
	unsigned timeout;            /* seconds after which it is ended, if nobody is there to do it; 0: none */
};
char **run_options(struct limits *limits, struct bend *bend, struct manner *manner, int argc, char **argv, int at);
void become_program(const struct limits *limits, const struct bend *bend, int last, char **program, int report, int err)
	__attribute__((noreturn));
void become_traced(const char *strace, const struct limits *limits, char **options, int count, char **program,
                   int trace, int report, int err) __attribute__((noreturn));

/* terminal.c: a subject on a terminal of its own */
int terminal_make(const struct manner *manner, int in[2], int out[2], int err[2]);
void terminal_take(int terminal);
void terminal_resize(int fd, int rows, int columns);

/* plain.c: what a person reads */
void plain_start(void);
int plain_show(char kind, const void *data, size_t length);
int plain_held(void);
void plain_running(void);
/* parcel.c: what the host hands in before it logs in */
void parcel_take(int line);

int init_main(void);
int idle_main(void);
void facts_write(int fd);
int facts_main(int argc, char **argv);
int where_main(void);
int run_main(int argc, char **argv);
int exec_main(int argc, char **argv);
int keep_main(int argc, char **argv);

#endif
