#define _GNU_SOURCE
#include "run_options.h"

#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int timeout_option(struct run_options *options, const char *value)
{
	uint64_t seconds;
	if (parse_number(value, &seconds) < 0 || seconds > UINT32_MAX)
		return -EINVAL;
	options->timeout = (unsigned)seconds;
	return 2;
}

/* ROWSxCOLUMNS */
static int terminal_option(struct run_options *options, const char *value)
{
	unsigned rows, columns;
	int end = 0;
	if (sscanf(value, "%5ux%5u%n", &rows, &columns, &end) != 2 || value[end])
		return -EINVAL;
	if (!rows || !columns || rows > UINT16_MAX || columns > UINT16_MAX)
		return -EINVAL;
	options->terminal = (struct terminal_size){(unsigned short)rows, (unsigned short)columns};
	return 2;
}

/* An option without a value. Returns 1, or 0 if it is unknown. */
static int flag_option(struct run_options *options, const char *option)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"--exit-maps", &options->exit_maps},
		{"--trace-files", &options->trace_files},
		{"--text", &options->text},
		{"--guest-state", &options->guest_state},
		{"--guest-state-before", &options->guest_state_before},
	};
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (!strcmp(option, flags[i].name)) {
			*flags[i].flag = true;
			return 1;
		}
	return 0;
}

/* Parse the option at argv[at]. Returns how many words it has, 0 if it is unknown, or -EINVAL. */
static int run_option(struct run_options *options, int argc, char **argv, int at)
{
	int words = limits_option(&options->limits, argc, argv, at);
	if (!words)
		words = faults_option(&options->faults, argc, argv, at);
	if (!words)
		words = subject_root_option(&options->root, argc, argv, at);
	if (!words)
		words = readiness_option(&options->readiness, argc, argv, at);
	if (words)
		return words;
	words = flag_option(options, argv[at]);
	if (words)
		return words;
	if (at + 1 >= argc)
		return 0;
	if (!strcmp(argv[at], "--terminal"))
		return terminal_option(options, argv[at + 1]);
	if (!strcmp(argv[at], "--timeout"))
		return timeout_option(options, argv[at + 1]);
	if (!strcmp(argv[at], "--trace"))
		options->trace = argv[at + 1];
	else if (!strcmp(argv[at], "--work"))
		options->work = argv[at + 1];
	else if (!strcmp(argv[at], "--work-files"))
		options->work_files = argv[at + 1];
	else if (!strcmp(argv[at], "--written"))
		options->written = argv[at + 1];
	else if (!strcmp(argv[at], "--input"))
		options->input = argv[at + 1];
	else
		return 0;
	return 2;
}

/* Where the subject starts follows from its root and its working directory. */
static void complete(struct run_options *options)
{
	if (options->root.place)
		options->limits.chroot = options->root.place;
	if (options->work && !options->limits.chdir)
		options->limits.chdir = options->work;
}

int find_program(int argc, char **argv, int at, const char **rejected)
{
	bool dashes = at < argc && !strcmp(argv[at], "--");
	*rejected = at < argc && !dashes ? argv[at] : NULL;
	return dashes && at + 1 < argc ? at + 1 : -EINVAL;
}

int run_options_parse(
	struct run_options *options, int argc, char **argv, int at, const char **rejected)
{
	*options = (struct run_options){.limits = NO_LIMITS};
	for (int words; at < argc; at += words) {
		words = run_option(options, argc, argv, at);
		if (words < 0) {
			*rejected = argv[at + 1];
			return words;
		}
		if (!words)
			break;
	}
	complete(options);
	return find_program(argc, argv, at, rejected);
}

void run_options_free(struct run_options *options)
{
	limits_free(&options->limits);
	faults_free(&options->faults);
}

noreturn void die_of_usage(const char *rejected)
{
	if (rejected)
		die(EINVAL, "cannot use the option or value", rejected);
	die(EINVAL, "cannot find", "-- PROGRAM behind the options");
}
