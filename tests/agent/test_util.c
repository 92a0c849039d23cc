#include "check.h"
#include "util.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void numbers_have_no_sign_and_no_rest(void)
{
	uint64_t value = 0;
	CHECK(parse_number("0xf840000000", &value) == 0 && value == 0xf840000000);
	CHECK(parse_number("18446744073709551615", &value) == 0 && value == UINT64_MAX);
	CHECK(parse_number("18446744073709551616", &value) == -ERANGE);
	static const char *bad[] = {"", " 1", "-1", "+1", "1 ", "1k", "0x", "x", "1e3"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK(parse_number(bad[i], &value) == -EINVAL);
}

static void an_array_grows_by_one_element_at_a_time(void)
{
	int *numbers = NULL;
	for (size_t count = 0; count < 1000; count++) {
		numbers = grow(numbers, count, sizeof *numbers);
		numbers[count] = (int)count; /* AddressSanitizer sees if there is no room */
	}
	for (int i = 0; i < 1000; i++)
		CHECK(numbers[i] == i);
	free(numbers);
}

static void files_larger_than_one_read_are_read_whole(void)
{
	char name[] = "/tmp/foothold-util-XXXXXX", *text = xcalloc(100001, 1);
	int fd = mkstemp(name);
	size_t length;
	memset(text, 'x', 100000);
	CHECK(fd >= 0 && write_all(fd, text, 100000) == 0);
	char *back = read_file(name, &length);
	CHECK(back && length == 100000 && !strcmp(back, text));
	CHECK(write_file(name, "short") == 0);
	CHECK(unlink(name) == 0 && !read_file(name, NULL));
	CHECK(write_file(name, "gone") == -ENOENT);
	close(fd);
	free(back);
	free(text);
}

static void read_all_reports_an_early_end(void)
{
	int ends[2];
	char bytes[4];
	CHECK(pipe(ends) == 0 && write(ends[1], "abc", 3) == 3);
	close(ends[1]);
	CHECK(read_all(ends[0], bytes, 4) == -ENODATA);
	close(ends[0]);
}

/* Run an allocation that must fail in a child. Returns what it prints. */
static const char *message_of(void (*allocate)(void))
{
	static char text[256];
	int ends[2], status;
	CHECK(pipe(ends) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		allocate();
		_exit(0);
	}
	close(ends[1]);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_AGENT);
	memset(text, 0, sizeof text);
	CHECK(read(ends[0], text, sizeof text - 1) > 0);
	close(ends[0]);
	return text;
}

static void a_number_is_found_behind_its_key(void)
{
	CHECK(number_after("Name:\tx\nTracerPid:\t42\nUid:\t7\n", "\nTracerPid:") == 42);
	CHECK(number_after("oom_kill_disable 1\noom_kill 3\n", "\noom_kill ") == 3);
	CHECK(number_after("Name:\tx\n", "\nTracerPid:") == 0);
	CHECK(number_after(NULL, "\nTracerPid:") == 0);
}

static void allocate_too_much(void)
{
	xmalloc(SIZE_MAX / 4);
}

static void allocate_more_than_a_size_can_say(void)
{
	xreallocarray(NULL, SIZE_MAX / 2, 8);
}

static void a_failed_allocation_is_reported(void)
{
	static const char message[] = "agent: cannot allocate memory: Cannot allocate memory\n";
	/* AddressSanitizer may warn before it */
	CHECK(strstr(message_of(allocate_too_much), message));
	CHECK(strstr(message_of(allocate_more_than_a_size_can_say), message));
}

int main(void)
{
	numbers_have_no_sign_and_no_rest();
	an_array_grows_by_one_element_at_a_time();
	files_larger_than_one_read_are_read_whole();
	read_all_reports_an_early_end();
	a_number_is_found_behind_its_key();
	a_failed_allocation_is_reported();
	return 0;
}
