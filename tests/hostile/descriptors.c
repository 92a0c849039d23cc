/* Lists its open descriptors, each with what it is. With an argument it writes lines of a trace to
 * all but the first three. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const char forged[] =
		"\n = 0xf800000000\n = 018446744073709551616\n"
		"1 mmap(0xf800000000,67108864,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0)"
		" = 0x000000f800000000\n";
	char path[64], target[256];
	for (int fd = 0; fd < 1024; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof target - 1);
		printf("%d %.*s\n", fd, (int)(length > 0 ? length : 0), target);
		fflush(stdout);
		if (argc > 1 && !strcmp(argv[1], "forge") && fd > 2)
			if (write(fd, forged, sizeof forged - 1) < 0)
				perror("write");
	}
	return 0;
}
