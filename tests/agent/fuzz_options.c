/* The lines of the input are the words of a command line. */
#include "check.h"
#include "fuzz.h"
#include "run_options.h"

#include <errno.h>
#include <string.h>

#define MOST_WORDS 128

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run_options options;
	const char *rejected = NULL;
	char *words = malloc(size + 1), *argv[MOST_WORDS + 1] = {NULL};
	int argc = 0;
	CHECK(words);
	memcpy(words, data, size);
	words[size] = 0;
	for (char *word = words; word && argc < MOST_WORDS; argc++) {
		argv[argc] = word;
		word = strchr(word, '\n');
		if (word)
			*word++ = 0;
	}
	int program = run_options_parse(&options, argc, argv, 0, &rejected);
	CHECK(program == -EINVAL || (program > 0 && program < argc));
	if (program > 0) {
		CHECK(!strcmp(argv[program - 1], "--"));
		for (size_t i = 0; i < options.faults.occupies; i++)
			CHECK(options.faults.occupied[i].start < options.faults.occupied[i].end);
	}
	run_options_free(&options);
	free(words);
	return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *buffer, size_t room)
{
	static const char *seeds[] = {
		"--rlimit\nas=0x1000:soft\n--cpu\n3\n--env\nA=b\n--memory\n4096\n--\nprogram",
		"--thp\nnever\n--write-execute\nrefused\n--seccomp\n060000000000ff7f\n--\np",
		"--no-exec\n/tmp\n--no-exec\n/dev/shm\n--\np",
		"--occupy\n0x1000-0x2000\n--ignore-hints\n4096-8192\n--fail\nhinted:2/0:12\n--\np",
		"--fail\nmmap[exec,file]:1/3:1\n--ignore-flag\nnoreplace\n--\np",
		"--sysctl\nvm/overcommit_memory=2\n--terminal\n24x80\n--timeout\n7\n--\np\nq",
		"--trace\nself\n--exit-maps\n--text\n--layout\nlegacy\n--ceiling\n4096\n--\np",
		"--subject-root\n/r\n--base\n/b\n--overlay\n/o\n--image\n/i\n--work\n/w\n--\np",
		"--work\n/w\n--work-files\n/f\n--input\n/i\n--user\nu\n--\np",
	};
	if (number >= sizeof seeds / sizeof *seeds || room < strlen(seeds[number]))
		return 0;
	memcpy(buffer, seeds[number], strlen(seeds[number]));
	return strlen(seeds[number]);
}
