"""A directory of a machine that is reached by SSH, with our agent in it: images/agent/session.h.

It is gone when the connection ends, however that happens: the agent there removes it.
"""

from __future__ import annotations

import contextlib
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import paramiko

from foothold_lab.harness.guests.login_shell import read_exactly, read_until, skip_noise
from foothold_lab.harness.guests.machine_probe import (
    ELF_HEAD,
    MOST_FACTS,
    Machine,
    parse_machine,
    probe_command,
)
from foothold_lab.harness.guests.remote_session import SILENCE, RemoteSession, frames_of
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    FootholdError,
    GuestError,
    InfrastructureError,
    UnsupportedError,
)
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.arguments import encode_arguments
from foothold_lab.harness.transport.frames import FrameKind, frame
from foothold_lab.harness.transport.ssh import Ssh, SshStream
from foothold_lab.harness.transport.ssh_login import connection_error
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.images import elf

PARTING = 6.0  # seconds for the agent to end all programs and to remove the directory
LAST_WORDS = 1.0  # seconds for the end of the connection to be seen after that of a channel
CHANNEL_SECONDS = 30.0  # for the login shell to start our agent
NOTHING_REPLACED: Mapping[Path, Path] = {}


class RemoteDirectory:
    """The directory, and the programs that run there.

    name: of the machine, for messages. machine: what it says of itself. `agent_for` returns the agent
    for a machine, and may build it: that does not count for the deadline.
    """

    def __init__(
        self, ssh: Ssh, name: str, agent_for: Callable[[Machine], Path], deadline: Deadline
    ) -> None:
        self.name = name
        self._ssh = ssh
        self._token = secrets.token_hex(16)
        self._placed: dict[str, tuple[int, int, int]] = {}
        self._guard = threading.Lock()  # of the spare channel
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="ssh channel")
        self._spare: Future[SshStream] | None = None
        self._session: RemoteSession | None = None
        try:
            stream = ssh.execute(probe_command(self._token, SILENCE), deadline)
            self.machine = self._send_agent(stream, agent_for, deadline)
            self._session = RemoteSession(ssh, stream, Deadline.after(CHANNEL_SECONDS))
        except OSError as error:
            raise self._lost_line(error) from error
        self._prepare_channel()

    @property
    def path(self) -> str:
        """Its path on the machine."""
        return self.machine.directory

    @property
    def agent(self) -> str:
        """The path of the agent there."""
        return f"{self.path}/agent"

    def place(
        self,
        folder: Path,
        target: str,
        deadline: Deadline,
        replaced: Mapping[Path, Path] = NOTHING_REPLACED,
    ) -> None:
        """Copy what is new or changed in a folder to a path below the directory; of some files the
        content of others.

        Raises GuestError if a file cannot be made there, InfrastructureError if the line breaks.
        """
        new = [each for each in _tree(folder) if self._is_new(folder, each, target)]
        if not new:
            return
        names = {path: f"{target}/{path.relative_to(folder)}".removesuffix("/.") for path in new}
        frames = (
            each
            for path, name in names.items()
            for each in frames_of(replaced.get(path, path), name)
        )
        assert self._session
        try:
            complaint = self._session.make_files(frames, deadline)
        except OSError as error:
            raise self._lost_line(error) from error
        if complaint:
            raise GuestError(
                f"a file cannot be copied to {self.name}: {escape_line(complaint)}",
                "free space there, or set TMPDIR there to another directory",
                code=Code.GUEST_FILES,
            )

    @contextlib.contextmanager
    def run(
        self, words: Sequence[str], deadline: Deadline, *, work: str = "", files: str = ""
    ) -> Iterator[Stream]:
        """Run a command of the agent, and yield its stream. It has ended when the context ends.

        `work` is the name of a fresh working directory for it, with copies of what is in `files`.
        Raises InfrastructureError if the line is broken, UsageError for words that no kernel takes.
        """
        payload = encode_arguments((work, files, *words))
        stream = self._take_channel(deadline)
        try:
            stream.send(frame(FrameKind.REQUEST, payload), deadline)
            self._prepare_channel()
        except OSError as error:
            stream.close()
            raise self._lost_line(error) from error
        try:
            yield stream
        finally:
            stream.close()

    def lost(self, why: str) -> GuestError | InfrastructureError:
        """Return the error for an agent there that ended too early: it was killed, or the line broke."""
        closed, dead = self._ssh.wait_closed(LAST_WORDS), self._session and self._session.dead
        if closed or dead:
            why = dead or "it was closed"
            return connection_error(
                f"the SSH connection to {self.name} broke: {why}",
                "look at the network and at that machine; --retries 1 repeats such a cell",
            )
        what = f"the agent on {self.name} has ended or was killed: {escape_line(why)}"
        return GuestError(what.rstrip(": "), code=Code.GUEST_DIED)

    def _lost_line(self, error: OSError) -> GuestError | InfrastructureError:
        """Return the error for a channel that could not be opened, or broke."""
        if isinstance(error.__cause__, paramiko.ChannelException):
            return GuestError(
                f"the SSH server of {self.name} opens no more channels for this connection",
                "set MaxSessions in its sshd_config to 10, which is the default",
                code=Code.GUEST_LOGIN,
            )
        return self.lost(str(error) or "it did not answer in time")

    def close(self) -> None:
        """End all that runs there, and remove the directory."""
        session, self._session = self._session, None
        if session is None:
            return
        self._opener.shutdown(wait=False, cancel_futures=True)
        if self._spare and not self._spare.cancel():
            with contextlib.suppress(OSError, FootholdError):
                self._spare.result(PARTING).close(0)
        if not session.close(PARTING) and self._ssh.connected:
            self._remove_again()

    def _remove_again(self) -> None:
        """Remove the directory although the agent that owns it was killed."""
        command = f"exec {self.agent} session {self._token} {SILENCE}"
        with contextlib.suppress(OSError):
            self._ssh.execute(command, Deadline.after(PARTING)).close(PARTING)

    # ---- the start ----

    def _send_agent(
        self, stream: SshStream, agent_for: Callable[[Machine], Path], deadline: Deadline
    ) -> Machine:
        """Ask what the machine is, and send the agent for it, which then is the session."""
        skip_noise(stream, self._token, deadline)
        text = read_until(stream, f"end {self._token}\n".encode(), MOST_FACTS, deadline)
        head = read_exactly(stream, ELF_HEAD, deadline)
        machine = parse_machine(text, _machine_of(head), self._token, self.name)
        allowed = deadline.remaining
        content = agent_for(machine).read_bytes()
        deadline = Deadline.after(allowed)  # the agent may have to be built first
        stream.send(b"%d\n" % len(content) + content, deadline)
        try:
            skip_noise(stream, self._token, deadline, failed=f"failed {self._token}")
        except GuestError as error:
            raise UnsupportedError(
                f"the agent does not run on {self.name}, a {machine.kernel_machine} with "
                f"{machine.kernel}: {error}",
                "look for free space and security rules there; tell us the machine",
            ) from error
        return machine

    # ---- channels ----

    def _prepare_channel(self) -> None:
        """Start the agent of the next program now: it takes as long as a short program."""
        with contextlib.suppress(RuntimeError):  # the directory is being closed
            self._spare = self._opener.submit(self._open_channel)

    def _open_channel(self) -> SshStream:
        deadline = Deadline.after(CHANNEL_SECONDS)
        stream = self._ssh.execute(f"exec {self.agent} request {self._token}", deadline)
        try:
            skip_noise(stream, self._token, deadline)
        except BaseException:
            stream.close(0)
            raise
        return stream

    def _take_channel(self, deadline: Deadline) -> SshStream:
        with self._guard:
            spare, self._spare = self._spare, None
        try:
            return spare.result(deadline.remaining) if spare else self._open_channel()
        except OSError as error:
            raise self._lost_line(error) from error
        except GuestError as error:
            raise self.lost(str(error)) from error

    def _is_new(self, folder: Path, path: Path, target: str) -> bool:
        """Whether a file was not copied yet as it is now."""
        status = path.lstat()
        name = f"{target}/{path.relative_to(folder)}"
        state = (status.st_mode, status.st_size, status.st_mtime_ns)
        if stat.S_ISDIR(status.st_mode):
            state = (status.st_mode, 0, 0)
        new = self._placed.get(name) != state
        self._placed[name] = state
        return new


def _tree(folder: Path) -> Iterator[Path]:
    """Yield a folder and all below it, each after the directory that it is in."""
    yield folder
    yield from sorted(folder.rglob("*"))


def _machine_of(head: bytes) -> str:
    """Return the machine of a program from its first bytes; empty if it is not an ELF program."""
    is_elf = len(head) == ELF_HEAD and head[:4] == b"\x7fELF"
    return elf.machine_of(head) if is_elf else ""
