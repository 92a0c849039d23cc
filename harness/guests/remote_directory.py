"""A directory of a machine that is reached by SSH, with our agent in it: images/agent/session.h.

It is gone when the connection ends, however that happens: the agent there removes it. Both ends send
something every few seconds, so that each knows when the line is dead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from foothold_lab.harness.guests.machine_probe import (
    ELF_HEAD,
    MOST_FACTS,
    READY,
    Machine,
    parse_machine,
    probe_command,
)
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    FootholdError,
    GuestError,
    InfrastructureError,
    SubjectError,
    UnsupportedError,
)
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.arguments import encode_arguments
from foothold_lab.harness.transport.frames import (
    FrameKind,
    Frames,
    LostContactError,
    frame,
    new_key,
)
from foothold_lab.harness.transport.ssh import Ssh, SshStream
from foothold_lab.harness.transport.ssh_login import connection_error
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.images import elf

NOTHING_REPLACED: Mapping[Path, Path] = {}
BEAT = 5.0  # seconds between two signs of life
SILENCE = 20  # seconds without a sign of life after which an end takes the other one for gone
PARTING = 6.0  # seconds for the agent to end all programs and to remove the directory
LAST_WORDS = 1.0  # seconds for the end of the connection to be seen after that of a channel
CHANNEL_SECONDS = 30.0  # for the login shell to start our agent
MOST_SHOWN = 300  # characters of what a shell printed that are shown
MOST_NOISE = 64 << 10  # bytes that the shell of the user may print before the agent does
MOST_COMPLAINT = 64 << 10  # bytes of an answer of the session
CHUNK = 60_000  # bytes of a file in a frame; the agent reads up to 65,531
SHELL = (
    "its login shell may print or read too much for commands that are not interactive, or run another "
    "command instead (authorized_keys, ForceCommand)"
)


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
        self._guard = threading.Lock()  # one conversation with the session at a time
        self._frames = Frames(key := new_key())
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="ssh channel")
        self._spare: Future[SshStream] | None = None
        self._ended = threading.Event()
        self._dead = ""  # why the connection was given up
        try:
            self._session = ssh.execute(probe_command(self._token, SILENCE), deadline)
            self.machine = self._send_agent(agent_for, deadline)
            self._session.send(frame(FrameKind.KEY, key), deadline)
        except OSError as error:
            raise self.lost(str(error) or "it did not answer in time") from error
        self._prepare_channel()
        self._heart = threading.Thread(target=self._beat, name="ssh signs of life", daemon=True)
        self._heart.start()

    @property
    def path(self) -> str:
        """Its path on the machine."""
        return self.machine.directory

    @property
    def connected(self) -> bool:
        """Whether the connection exists still."""
        return self._ssh.connected

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
            for each in _frames_of(replaced.get(path, path), name)
        )
        try:
            with self._guard:
                for each in frames:
                    self._session.send(each, deadline)
                complaint = self._sync(deadline)
        except OSError as error:
            raise self.lost(str(error)) from error
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
            raise self.lost(str(error)) from error
        try:
            yield stream
        finally:
            stream.close()

    def lost(self, why: str) -> GuestError | InfrastructureError:
        """Return the error for an agent there that ended too early: it was killed, or the line broke."""
        if self._ssh.wait_closed(LAST_WORDS) or self._dead:
            why = self._dead or "it was closed"
            return connection_error(
                f"the SSH connection to {self.name} broke: {why}",
                "look at the network and at that machine; --retries 1 repeats such a cell",
            )
        what = f"the agent on {self.name} has ended or was killed: {escape_line(why)}"
        return GuestError(what.rstrip(": "), code=Code.GUEST_DIED)

    def close(self) -> None:
        """End all that runs there, and remove the directory."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._opener.shutdown(wait=False, cancel_futures=True)
        if self._spare and not self._spare.cancel():
            with contextlib.suppress(OSError, FootholdError):
                self._spare.result(PARTING).close(0)
        self._session.close(PARTING)
        if self.connected and not self._session.clean:
            self._remove_again()

    def _remove_again(self) -> None:
        """Remove the directory although the agent that owns it was killed."""
        command = f"exec {self.agent} session {self._token} {SILENCE}"
        with contextlib.suppress(OSError):
            self._ssh.execute(command, Deadline.after(PARTING)).close(PARTING)

    # ---- the start ----

    def _send_agent(self, agent_for: Callable[[Machine], Path], deadline: Deadline) -> Machine:
        """Ask what the machine is, and send the agent for it, which then is the session."""
        _skip_noise(self._session, self._token, deadline)
        text = _read_until(self._session, f"end {self._token}\n".encode(), MOST_FACTS, deadline)
        head = _read_exactly(self._session, ELF_HEAD, deadline)
        machine = parse_machine(text, _machine_of(head), self._token, self.name)
        allowed = deadline.remaining
        content = agent_for(machine).read_bytes()
        deadline = Deadline.after(allowed)  # the agent may have to be built first
        self._session.send(b"%d\n" % len(content) + content, deadline)
        try:
            _skip_noise(self._session, self._token, deadline, failed=f"failed {self._token}")
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
            _skip_noise(stream, self._token, deadline)
        except BaseException:
            stream.close(0)
            raise
        return stream

    def _take_channel(self, deadline: Deadline) -> SshStream:
        with self._guard:
            spare, self._spare = self._spare, None
        try:
            return spare.result(deadline.remaining) if spare else self._open_channel()
        except (OSError, FutureTimeout, GuestError) as error:
            raise self.lost(str(error)) from error

    # ---- the session ----

    def _beat(self) -> None:
        """Give a sign of life, and wait for one: without it the line is dead."""
        while not self._ended.wait(BEAT):
            try:
                with self._guard:
                    self._sync(Deadline.after(SILENCE))
            except (OSError, FootholdError) as error:
                if not self._ended.is_set() and isinstance(error, TimeoutError):
                    self._dead = f"that machine has not answered for {SILENCE} s"
                    self._ssh.close()
                return

    def _sync(self, deadline: Deadline) -> str:
        """Wait until the session has done all before. Returns what failed; empty: nothing.

        Raises GuestError for bytes that the session does not send.
        """
        self._session.send(frame(FrameKind.SYNC), deadline)
        try:
            while data := self._session.receive(deadline):
                for kind, payload in self._frames.take(data):
                    if kind is FrameKind.SYNC:
                        return payload[:MOST_COMPLAINT].decode(errors="replace")
        except (LostContactError, SubjectError) as error:
            what = f"the session on {self.name} cannot be understood: {escape_line(str(error))}"
            raise GuestError(what, code=Code.GUEST_PROTOCOL) from error
        raise OSError(self._session.complaint() or "its agent has ended")

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


def _frames_of(path: Path, name: str) -> Iterator[bytes]:
    """Yield the frames that make a directory, link or file: images/agent/placement.h."""
    status = path.lstat()
    entry = f"{status.st_mode:o} ".encode() + os.fsencode(name) + b"\0"
    if path.is_symlink():
        yield frame(FrameKind.ENTRY, entry + os.fsencode(path.readlink()))
        return
    yield frame(FrameKind.ENTRY, entry)
    if stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield frame(FrameKind.CONTENT, data)


def _skip_noise(stream: SshStream, token: str, deadline: Deadline, failed: str = "") -> None:
    """Read until the line `ready TOKEN`: a login shell may print text of its own first.

    Raises GuestError with what came instead; `failed` is a line that says that it will not come.
    """
    mark, noise = f"\n{READY} {token}\n".encode(), b""
    while mark not in noise:
        try:
            data = stream.receive(deadline)
        except TimeoutError:
            data = b""
        noise += data
        refused = failed and f"\n{failed}\n".encode() in noise
        if not data or refused or len(noise) > MOST_NOISE:
            said = (noise + stream.complaint().encode()).decode(errors="replace").strip()
            what = "the agent does not start there"
            raise GuestError(
                f"{what}: {escape_line(said[-MOST_SHOWN:])}" if said else what,
                SHELL,
                code=Code.GUEST_PROTOCOL,
            )
    stream.put_back(noise.partition(mark)[2])


def _read_until(stream: SshStream, end: bytes, most: int, deadline: Deadline) -> bytes:
    """Read bytes up to an end, and return those before it. Raises GuestError."""
    data = b""
    while end not in data:
        more = stream.receive(deadline)
        data += more
        if not more or len(data) > most:
            what = "the first command there did not come to its end"
            raise GuestError(f"{what}: {stream.complaint()}", SHELL, code=Code.GUEST_PROTOCOL)
    before, _, rest = data.partition(end)
    stream.put_back(rest)
    return before


def _read_exactly(stream: SshStream, size: int, deadline: Deadline) -> bytes:
    data = b""
    while len(data) < size and (more := stream.receive(deadline)):
        data += more
    stream.put_back(data[size:])
    return data[:size]


def _machine_of(head: bytes) -> str:
    """Return the machine of a program from its first bytes; empty if it is not an ELF program."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(head)
        file.flush()
        return elf.machine(Path(file.name)) or ""
