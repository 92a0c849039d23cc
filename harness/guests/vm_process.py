"""A process of the host with a kernel inside: UML, or QEMU.

Its parent is the guest keeper, an agent that kills all its descendants when a pipe is closed that
this process holds: by `stop`, or because this process has died. The console is a pseudo-terminal,
the connection to the agent inside is one end of a socket pair. Both are made before the guest
starts, so there are no names and no ports, and nothing to wait for but the hello of the guest.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foothold_lab.harness.guests.base import AGENT
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, SubjectError
from foothold_lab.harness.model.facts import LARGEST, Facts, parse_facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.kernel_log import HALT, PANIC, panic_message
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.arguments import ArgumentStream
from foothold_lab.harness.transport.console import KERNEL_PANIC, Console
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.keys import Keys
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import OWN_TRACER, agent_arguments

if TYPE_CHECKING:
    from foothold_lab.harness.transport.ssh import Ssh

STRACE = "/usr/bin/strace"  # path of strace in every root file system of ours
HELLO = b"foothold "  # images/agent/init.c
# that of the user is not inherited: UML looks for its memory where TMPDIR says
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
READY = b"foothold ready\n"  # images/agent/boot_payload.c
PANIC_SECONDS = 2.0  # for the process to end after a panic; it does within 0.1 s (measured)
STOPPED = "its agent did not end: the subject has stopped it or the SSH server, or used their line"
DISTURBED = "a program in the guest wrote on the line to the harness, or read from it"
AS_ANOTHER_USER = "the subject did, as root of the guest: run it as another user (--user)"
IMAGE_LIST = "shown"  # the file of the share that lists images: images/agent/bind_images.c


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a process.

    agent: the program of the guest keeper.
    argv: returns the command line, given the descriptor of the connection.
    directory: for the log of the console.
    keep: more options of `agent keep`: confinement, working directory.
    cpu: the processor that it is pinned to; None: any.
    descriptors: stay open in it beside the connection.
    payload: returns what is sent to the guest before its hello; None: nothing.
    has_strace: strace works in the guest. It traces instead of the agent if the kernel refuses the
        filters of seccomp by which the agent traces, under a seccomp profile (the agent sees no call
        that another filter refuses), and if the calls with file names are to be seen.
    """

    agent: Path
    argv: Callable[[int], Sequence[str]]
    directory: Path
    keep: tuple[str, ...] = ()
    cpu: int | None = None
    keys: Keys = field(default_factory=Keys)
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    payload: Callable[[], bytes] | None = None
    has_strace: bool = True


class _Failure:
    """Why a guest will not go on. The first reason counts, and wakes the threads that wait."""

    def __init__(self) -> None:
        self._known = threading.Event()
        self._guard = threading.Lock()
        self.error = GuestError("")

    def set(self, error: GuestError) -> bool:
        """Set the reason; return False if there is one."""
        with self._guard:
            if self._known.is_set():
                return False
            self.error = error
            self._known.set()
            return True

    def correct(self, error: GuestError) -> None:
        """Replace the reason: it was wrong."""
        with self._guard:
            self.error = error

    def wait(self, seconds: float) -> bool:
        """Wait for a reason at most this long; return whether there is one."""
        return self._known.wait(seconds)


class VmProcess:
    """A running process with a kernel inside, and the agent in that kernel."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._failure = _Failure()
        self._panic_checked = threading.Event()
        self._panic_guard = threading.Lock()
        self._stopping = False
        self._ssh: Ssh | None = None
        self._agent_traces = False
        self._line, theirs = socket.socketpair()
        owned, self._owner = os.pipe()
        self._console = Console(launch.directory / "console.log", self._fail)
        keep = [str(launch.agent), "keep", "--owner", str(owned), *launch.keep]
        if launch.cpu is not None:
            keep += ["--cpu", str(launch.cpu)]
        for name, value in launch.environment.items():
            keep += ["--env", f"{name}={value}"]
        self.argv = (*keep, "--", *launch.argv(theirs.fileno()))
        try:
            self._process = subprocess.Popen(
                self.argv,
                stdin=self._console.guest_end,
                stdout=self._console.guest_end,
                stderr=self._console.guest_end,
                start_new_session=True,
                env=ENVIRONMENT,
                pass_fds=(theirs.fileno(), owned, *launch.descriptors),
            )
        finally:
            os.close(owned)
            theirs.close()
        self._console.start()
        self._watcher = threading.Thread(target=self._watch, name="guest exit", daemon=True)
        self._watcher.start()

    def ready(self, deadline: Deadline) -> None:
        """Wait until the guest waits for its boot payload.

        Raises GuestError with the last lines of the console.
        """
        try:
            line = self._first_line(deadline)
        except (GuestError, OSError) as error:
            raise self._explain(str(error), code=Code.GUEST_BOOT) from error
        if line != READY:
            what = f"the guest's first line is not {READY!r} but {line[:80]!r}"
            raise self._explain(what, code=Code.GUEST_BOOT)

    def connect(self, deadline: Deadline) -> Facts:
        """Send the boot payload, wait for the guest's hello, and log in.

        Raises GuestError with the last lines of the console.
        """
        try:
            if self._launch.payload:
                self._line.settimeout(deadline.socket_timeout)
                self._line.sendall(self._launch.payload())
            # the import takes 0.1 s, while the guest boots
            from foothold_lab.harness.transport.ssh import log_in_to_guest

            facts = parse_facts(self._hello(deadline))
            self._agent_traces = facts.tools.seccomp == 0  # else the errno of the refusal
            self._ssh = log_in_to_guest(self._line, self._launch.keys, deadline)
        except GuestError as error:
            raise self._explain(str(error), error.remedy, error.code) from error
        except OSError as error:
            raise self._explain(
                f"the guest does not answer: {error}", code=Code.GUEST_BOOT
            ) from error
        return facts

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """Start a program under the guest's agent."""
        assert self._ssh, "connect first"
        only_strace = how.seccomp or how.trace_files  # what the agent does not see
        own = not self._launch.has_strace or (self._agent_traces and not only_strace)
        arguments = agent_arguments(limits, argv, how, OWN_TRACER if own else STRACE)
        try:
            stream = self._ssh.open((AGENT, "run"), deadline)
        except OSError as error:
            raise self._explain(f"the guest cannot start a program: {error}") from error
        try:
            yield ArgumentStream(stream, arguments)
        except LostContactError as error:
            died = self._lost(str(error))
            died.record = error.record
            raise died from error
        except SubjectError as error:
            stream.close()
            if self._failure.wait(0.2):  # the guest failed, not the subject
                died = self._explain(str(error))
            elif not stream.ended:
                died = self._unanswered(f"{error}, and then {STOPPED}")
            else:
                raise
            died.record = error.record
            raise died from None
        finally:
            stream.close()

    def push(self, source: Path, target: str) -> None:
        """Copy a file or a directory in by SFTP."""
        assert self._ssh, "connect first"
        self._ssh.push(source, target)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file out by SFTP."""
        assert self._ssh, "connect first"
        self._ssh.pull(source, target)

    @property
    def process_id(self) -> int:
        """The kernel, or QEMU, below the guest keeper. Raises GuestError if it is gone.

        In a sandbox the init of its pid namespace is between them, a fork of the keeper.
        """
        keeper = Path(f"/proc/{self._process.pid}/cmdline")
        try:
            child = _child_of(self._process.pid)
            if Path(f"/proc/{child}/cmdline").read_bytes() == keeper.read_bytes():
                child = _child_of(child)
        except (OSError, LookupError):
            raise self._explain("the guest's process is gone") from None
        return child

    def diagnose(self) -> str:
        """Return the console's last lines. All that the guest has printed is in the log then."""
        self._console.drain()
        return self._console.tail

    def stop(self) -> None:
        """Kill it and everything below it, and wait until it is gone."""
        if self._stopping:
            return
        self._stopping = True
        self._failure.set(GuestError("the guest was stopped"))
        os.close(self._owner)  # the guest keeper kills and reaps everything, then ends
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        if self._ssh:
            self._ssh.close()
        self._line.close()
        self._watcher.join(5)
        self._console.close()

    def _hello(self, deadline: Deadline) -> bytes:
        line = self._first_line(deadline)
        if not line.startswith(HELLO):
            what = f"the guest's first line is not its hello: {line[:80]!r}"
            raise GuestError(what, code=Code.GUEST_BOOT)
        return line[len(HELLO) :]

    def _first_line(self, deadline: Deadline) -> bytes:
        """Read one line and not a byte more, because SSH may begin after it."""
        before = b""
        while True:
            self._line.settimeout(deadline.socket_timeout)
            try:
                if before and deadline.expired:  # the part is still there: recv() does not wait
                    raise TimeoutError
                seen = self._line.recv(LARGEST, socket.MSG_PEEK)
            except TimeoutError:
                quiet = "printed nothing at all" if not self._console.tail else "did not get ready"
                what = f"the guest {quiet} before its deadline"
                raise GuestError(what, code=Code.GUEST_BOOT) from None
            end = seen.find(b"\n") + 1
            if not seen or (seen == before and self._failure.wait(0)):
                raise GuestError("the guest ended before it was ready", code=Code.GUEST_BOOT)
            if end == 0 and len(seen) == LARGEST:
                raise GuestError("the guest's first line has no end", code=Code.GUEST_BOOT)
            if end:
                line = self._line.recv(end)
                self._line.settimeout(None)
                return line
            # part of a line: wait for more than what has been seen
            before = seen
            self._failure.wait(0.005)

    def _fail(self, error: GuestError) -> None:
        """Record why the guest will not go on, and wake all threads that wait for it.

        After a panic the process ends by itself. A guest that goes on has forged the message; it is
        not disturbed before that is known.
        """
        if not self._failure.set(error):
            return
        if self._shows_panic():
            timer = threading.Timer(PANIC_SECONDS, self._check_panic)
            timer.daemon = True
            timer.start()
        else:
            self._close_line()

    def _close_line(self) -> None:
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def _check_panic(self, *, ended: bool = False) -> None:
        """Correct the reason after a panic. `ended`: the process has, so it may have been one."""
        with self._panic_guard:
            if self._shows_panic() and not self._panic_checked.is_set():
                self._failure.correct(self._judge_panic(ended=ended))
                self._panic_checked.set()
                self._close_line()

    def _shows_panic(self) -> bool:
        """Say whether a panic on the console is why the guest will not go on. Before the login no
        subject runs that could have written it.
        """
        return self._ssh is not None and str(self._failure.error).startswith(KERNEL_PANIC)

    def _judge_panic(self, *, ended: bool) -> GuestError:
        panic = panic_message(self._console.text)
        if not ended or HALT in panic:
            how = "was halted or rebooted by a program" if ended else "goes on"
            what = f"{self._failure.error}; but the guest {how}: the message was forged"
            return GuestError(what, AS_ANOTHER_USER, code=Code.GUEST_PANIC_FORGED)
        why = panic.partition("\n")[0].rpartition(f"{PANIC}: ")[2]
        return GuestError(f"{KERNEL_PANIC}: {why}", code=Code.GUEST_PANIC, panic=panic)

    def _watch(self) -> None:
        status = self._process.wait()
        # read the console to its end first: a panic says more than an exit status
        self._console.join(1)
        self._check_panic(ended=True)
        what = f"the guest's process ended by itself, status {status}"
        self._fail(GuestError(what, code=Code.GUEST_DIED))

    def _lost(self, why: str) -> GuestError:
        """Return why the agent of a program is gone."""
        assert self._ssh
        if self._failure.wait(1.5):
            return self._explain(f"the guest ended while a program ran: {why}")
        if self._ssh.connected:
            return self._unanswered(why or "the agent was killed under the subject")
        return self._unanswered(DISTURBED)

    def _unanswered(self, what: str) -> GuestError:
        """Return that a guest lives, but what connects it to the harness does not."""
        return GuestError(
            what,
            AS_ANOTHER_USER,
            code=Code.GUEST_KILLED,
            console=self._console.tail,
            argv=self.argv,
        )

    def _explain(self, what: str, remedy: str = "", code: Code = Code.GUEST_DIED) -> GuestError:
        """Turn a symptom into an error that names the cause, if it becomes known soon."""
        panic = ""
        if self._failure.wait(1.5):
            self._console.join(0.5)  # the last lines of a dying kernel say most
            if self._shows_panic():
                self._panic_checked.wait(2 * PANIC_SECONDS)
            why = self._failure.error
            what, remedy, code, panic = str(why), why.remedy or remedy, why.code, why.panic
        return GuestError(
            what, remedy, code=code, console=self._console.tail, argv=self.argv, panic=panic
        )


def _child_of(process: int) -> int:
    """Return the child of a process. Raises LookupError if it has none.

    Source: proc(5), the fourth field of /proc/PID/stat, which follows a name in parentheses.
    """
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = each.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == process:
                return int(each.parent.name)
    raise LookupError(process)
