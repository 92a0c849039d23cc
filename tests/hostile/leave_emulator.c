/* Leaves the emulator by executing the shell of this machine, which inherits the emulator's log. The
 * shell writes there that it was not executed (`denied`), or starts a new line (`silent`), and then that
 * the program reserved memory high. With `fails` it executes what cannot be executed. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "fails";
	char script[1024];
	if (!strcmp(how, "fails")) {
		execl("/nowhere", "nowhere", (char *)0);
		return 0;
	}
	snprintf(script, sizeof script,
		"printf '%s\n%d mmap(0xf800000000,67108864,PROT_READ|PROT_WRITE,"
		"MAP_PRIVATE|MAP_ANONYMOUS,-1,0) = 0x000000f800000000\n%d exit_group(0)\n' >&3",
		strcmp(how, "denied") ? "" : " = -1 errno=2 (No such file or directory)",
		getpid(), getpid());
	execl("/bin/sh", "sh", "-c", script, (char *)0);
	return 1;
}
