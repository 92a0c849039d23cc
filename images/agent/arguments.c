#include "arguments.h"

#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void append(struct arguments *arguments, char *word)
{
	arguments->words =
		grow(arguments->words, (size_t)arguments->count, sizeof *arguments->words);
	arguments->words[arguments->count++] = word;
}

int arguments_read(struct arguments *arguments, int fd, enum frame_kind kind)
{
	unsigned char header[FRAME_HEADER];
	int error = read_all(fd, header, sizeof header);
	if (error)
		return error;
	size_t length = frame_length(header);
	if (header[0] != kind || length > MOST_ARGUMENTS)
		return -EPROTO;
	char *text = xmalloc(length);
	error = read_all(fd, text, length);
	if (!error && length && text[length - 1])
		error = -EPROTO;
	if (error) {
		free(text);
		return error;
	}
	*arguments = (struct arguments){.text = text};
	for (char *word = text; word < text + length; word += strlen(word) + 1)
		append(arguments, word);
	append(arguments, NULL);
	arguments->count--;
	return 0;
}

void arguments_free(struct arguments *arguments)
{
	free(arguments->words);
	free(arguments->text);
}
