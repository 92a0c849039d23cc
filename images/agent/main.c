/* The agent: one static program, which runs beside every subject and around every guest.
 *
 *   agent init                      PID 1 of a UML or QEMU guest               (init.h)
 *   agent idle                      PID 1 of a container                       (init.h)
 *   agent run [OPTIONS] -- PROGRAM  supervise a subject                        (supervisor.h)
 *   agent exec ...                  the last step of a traced subject          (strace_exec.h)
 *   agent keep [OPTIONS] -- PROGRAM keep the process of a guest on the host    (guest_keeper.h)
 *   agent facts [COMMAND...]        measure this address space                 (facts.h)
 *   agent probe                     one address for that measurement           (facts.h)
 *   agent session TOKEN SECONDS     own a directory of this machine            (session.h)
 *   agent request TOKEN             run a command from standard input          (request.h)
 *
 * `run` and `keep` share one promise: when their owner is gone (the end of file on standard input,
 * or on the descriptor of the owner), everything below them is killed and reaped. */
#include "facts.h"
#include "guest_keeper.h"
#include "init.h"
#include "request.h"
#include "session.h"
#include "strace_exec.h"
#include "supervisor.h"
#include "util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";
	if (!strcmp(role, "run"))
		return run_main(argc, argv);
	if (!strcmp(role, "exec"))
		exec_main(argc, argv);
	if (!strcmp(role, "keep"))
		return keep_main(argc, argv, run_main);
	if (!strcmp(role, "facts"))
		return facts_main(argc, argv);
	if (!strcmp(role, "probe"))
		return probe_main();
	if (!strcmp(role, "session"))
		return session_main(argc, argv);
	if (!strcmp(role, "request"))
		return request_main(argc, argv);
	if (!strcmp(role, "idle"))
		return idle_main();
	if (!strcmp(role, "init") || getpid() == 1)
		init_main();
	fprintf(stderr, "usage: agent init | idle | probe | facts [COMMAND...] |\n"
			"       run [OPTIONS] -- PROGRAM | keep [OPTIONS] -- PROGRAM\n");
	return EXIT_AGENT;
}
