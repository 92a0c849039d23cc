#include "check.h"
#include "run_options.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>

#define MOST_WORDS 256

/* Parse words that are separated by blanks. */
static int parse(struct run_options *options, const char *line, const char **rejected)
{
	static char words[MOST_WORDS * 16];
	static char *argv[MOST_WORDS];
	int argc = 0;
	char *rest;
	snprintf(words, sizeof words, "%s", line);
	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	return run_options_parse(options, argc, argv, 0, rejected);
}

static void all_options_are_understood(void)
{
	struct run_options options;
	const char *rejected;
	int program = parse(&options,
		"--rlimit as=0x1000 --rlimit nofile=64:soft --thp never --write-execute refused "
		"--no-exec /tmp "
		"--seccomp 060000000000ff7f "
		"--cpu 3 --chroot /r --chdir /d --env A=b=c --layout fixed "
		"--memory 4096 --sysctl vm/overcommit_memory=2 --ceiling 0x4000000000 "
		"--occupy 0x1000-0x2000 --ignore-hints 4096-8192 --fail hinted:2/0:12 "
		"--ignore-flag noreserve "
		"--trace self "
		"--exit-maps --terminal 24x80 --text --timeout 7 -- program argument",
		&rejected);
	CHECK(program == 45);
	const struct limits *limits = &options.limits;
	CHECK(limits->has_rlimit[RLIMIT_AS] && limits->rlimit[RLIMIT_AS] == 0x1000);
	CHECK(!limits->soft_only[RLIMIT_AS] && limits->soft_only[RLIMIT_NOFILE]);
	CHECK(limits->rlimit[RLIMIT_NOFILE] == 64 && limits->refuse_wx);
	CHECK(limits->no_execs == 1 && !strcmp(limits->no_exec[0], "/tmp"));
	CHECK(limits->filter.count == 1 && limits->filter.statement->code == 6);
	CHECK(!limits->has_rlimit[RLIMIT_DATA] && limits->cpu == 3 && limits->memory == 4096);
	CHECK(!strcmp(limits->chroot, "/r") && !strcmp(limits->chdir, "/d"));
	CHECK(limits->envs == 1 && !strcmp(limits->env[0], "A=b=c"));
	CHECK(limits->persona == ADDR_NO_RANDOMIZE);
	CHECK(limits->settings == 2 && !strcmp(limits->setting[1].value, "2"));
	CHECK(!strcmp(limits->setting[1].path, "/proc/sys/vm/overcommit_memory"));
	CHECK(!strcmp(limits->setting[0].value, "never"));
	const struct faults *faults = &options.faults;
	CHECK(faults->task_size_limit == 0x4000000000 && faults->occupies == 1);
	CHECK(faults->occupied[0].start == 0x1000 && faults->occupied[0].end == 0x2000);
	CHECK(faults->ignored.start == 4096 && faults->ignored.end == 8192);
	CHECK(faults->failures == 1 && faults->failure[0].nth == 2 &&
		faults->failure[0].error == 12);
	CHECK(faults->failure[0].every == 0 && faults->failure[0].hinted);
	CHECK(faults->ignored_flags == MAP_NORESERVE);
	CHECK(!strcmp(options.trace, TRACE_SELF) && options.exit_maps && options.text);
	CHECK(options.terminal.rows == 24 && options.terminal.columns == 80);
	CHECK(options.timeout == 7);
	run_options_free(&options);
}

static void options_repeat_without_limit(void)
{
	struct run_options options;
	const char *rejected;
	char line[4096] = "";
	for (int i = 0; i < 65; i++)
		strcat(line, "--env A=1 ");
	for (int i = 0; i < 17; i++)
		strcat(line, "--occupy 0x1000-0x2000 --fail mmap:1/0:12 ");
	strcat(line, "-- program");
	CHECK(parse(&options, line, &rejected) == 2 * (65 + 2 * 17) + 1);
	CHECK(options.limits.envs == 65 && options.faults.occupies == 17);
	CHECK(options.faults.failures == 17);
	run_options_free(&options);
}

static void directories_and_the_root_are_understood(void)
{
	struct run_options options;
	const char *rejected;
	CHECK(parse(&options,
		      "--work /w --work-files /f --written /n --input /i --subject-root /r "
		      "--trace-files --guest-state --guest-state-before -- program",
		      &rejected) == 14);
	CHECK(!strcmp(options.work, "/w") && !strcmp(options.work_files, "/f"));
	CHECK(!strcmp(options.written, "/n") && !strcmp(options.input, "/i"));
	CHECK(!strcmp(options.limits.chroot, "/r") && !strcmp(options.limits.chdir, "/w"));
	CHECK(options.trace_files && options.guest_state && options.guest_state_before);
	run_options_free(&options);
	CHECK(parse(&options, "--work /w --chdir /elsewhere --layout legacy -- program",
		      &rejected) == 7);
	CHECK(!strcmp(options.limits.chdir, "/elsewhere") && !options.limits.chroot);
	CHECK(options.limits.persona == ADDR_COMPAT_LAYOUT);
	run_options_free(&options);
}

static void names_the_word_that_it_rejects(void)
{
	static const struct {
		const char *line, *rejected;
	} cases[] = {
		{"--rlimit as=x -- p", "as=x"},
		{"--rlimit as=1k -- p", "as=1k"},
		{"--rlimit as=-1 -- p", "as=-1"},
		{"--rlimit foo=1 -- p", "foo=1"},
		{"--rlimit as=1:hard -- p", "as=1:hard"},
		{"--rlimit as=:soft -- p", "as=:soft"},
		{"--thp sometimes -- p", "sometimes"},
		{"--write-execute allowed -- p", "allowed"},
		{"--no-exec tmp -- p", "tmp"},
		{"--seccomp 0600000000000 -- p", "0600000000000"},
		{"--seccomp 060000000000ff7g -- p", "060000000000ff7g"},
		{"--rlimit as -- p", "as"},
		{"--rlimit as=99999999999999999999 -- p", "as=99999999999999999999"},
		{"--env A -- p", "A"},
		{"--env =b -- p", "=b"},
		{"--cpu 1024 -- p", "1024"},
		{"--cpu 4294967296 -- p", "4294967296"},
		{"--layout high -- p", "high"},
		{"--memory 1G -- p", "1G"},
		{"--sysctl vm/x -- p", "vm/x"},
		{"--ceiling 0 -- p", "0"},
		{"--occupy 0x2000-0x1000 -- p", "0x2000-0x1000"},
		{"--occupy 0x1000 -- p", "0x1000"},
		{"--ignore-hints -5 -- p", "-5"},
		{"--fail mmap:0/0:12 -- p", "mmap:0/0:12"},
		{"--fail mmap:1/0:0 -- p", "mmap:1/0:0"},
		{"--fail mmap:1/0:5000 -- p", "mmap:1/0:5000"},
		{"--fail mmap:1/0: -- p", "mmap:1/0:"},
		{"--fail mmap:1:12 -- p", "mmap:1:12"},
		{"--fail write:1/0:12 -- p", "write:1/0:12"},
		{"--fail mmap[exec:1/0:12 -- p", "mmap[exec:1/0:12"},
		{"--fail mmap[]:1/0:12 -- p", "mmap[]:1/0:12"},
		{"--fail munmap[exec]:1/0:12 -- p", "munmap[exec]:1/0:12"},
		{"--ignore-flag fixed -- p", "fixed"},
		{"--terminal 24 -- p", "24"},
		{"--terminal 0x80 -- p", "0x80"},
		{"--terminal 24x80x -- p", "24x80x"},
		{"--terminal 24x65536 -- p", "24x65536"},
		{"--timeout soon -- p", "soon"},
		{"--timeout 4294967296 -- p", "4294967296"},
		{"--sysctl =1 -- p", "=1"},
		{"--unknown -- p", "--unknown"},
		{"--cpu", "--cpu"},
		{"program", "program"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct run_options options;
		const char *rejected = NULL;
		CHECK(parse(&options, cases[i].line, &rejected) == -EINVAL);
		if (!rejected || strcmp(rejected, cases[i].rejected) != 0)
			fprintf(stderr, "%s: rejects %s\n", cases[i].line, rejected);
		CHECK(rejected && !strcmp(rejected, cases[i].rejected));
		run_options_free(&options);
	}
}

static void a_program_is_required(void)
{
	struct run_options options;
	const char *rejected = "";
	CHECK(parse(&options, "--cpu 1 --", &rejected) == -EINVAL && !rejected);
	run_options_free(&options);
	rejected = "";
	CHECK(parse(&options, "--cpu 1", &rejected) == -EINVAL && !rejected);
	run_options_free(&options);
}

int main(void)
{
	all_options_are_understood();
	options_repeat_without_limit();
	directories_and_the_root_are_understood();
	names_the_word_that_it_rejects();
	a_program_is_required();
	return 0;
}
