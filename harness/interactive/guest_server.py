"""Keeps guests after their cells, and lets clients in through a socket in the run directory.

A client sends one line of JSON: which program, in which guest. The server answers with one line.
After that the connection carries the frames of the agent that runs the program, in both directions,
as if the guest were the client's own (harness/transport/conversation.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.interactive.shell import START_SECONDS, ProgramRequest, supervise
from foothold_lab.harness.interactive.terminal import Streams, relay
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    FootholdError,
    GuestError,
    InfrastructureError,
    UsageError,
)
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.run_directory import decode
from foothold_lab.harness.transport.conversation import SEND_SECONDS, Conversation
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.unix_socket import peer_of, socket_path

SOCKET = "guests.socket"  # its name in the directory
Mode = Literal["failed", "all"]
MAX_LINE = 1 << 16  # bytes of a line
POLL_SECONDS = 1.0  # seconds between checks whether the client has gone


@dataclass(frozen=True)
class Request:
    """A request of a client: a program to start in a guest."""

    guest: str
    request: ProgramRequest


@dataclass(frozen=True)
class Response:
    """The answer: empty, or an error with its remedy."""

    error: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _KeptGuest:
    guest: Guest
    facts: Facts
    end: Callable[[], None]


@dataclass
class GuestServer:
    """Guests that are kept, those in which a cell did not pass or all, in a run's directory."""

    directory: Path
    mode: Mode = "all"
    _guests: dict[str, _KeptGuest] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def retains(self, verdicts: Sequence[Verdict]) -> bool:
        """Is a guest to be kept in which these cells ran?"""
        bad = (Result.FAIL, Result.ERROR)
        return self.mode == "all" or any(verdict.result in bad for verdict in verdicts)

    def take_over(self, boot: str, guest: Guest, facts: Facts, end: Callable[[], None]) -> None:
        """Take over a guest under a name; `end` is called when it is kept no longer."""
        with self._lock:
            self._guests[boot] = _KeptGuest(guest, facts, end)

    @property
    def names(self) -> tuple[str, ...]:
        """The guests that are kept."""
        with self._lock:
            return tuple(sorted(self._guests))

    def __enter__(self) -> GuestServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            guests = list(self._guests.values())
            self._guests.clear()
        for each in guests:
            each.end()

    @contextlib.contextmanager
    def serve(self) -> Iterator[None]:
        """Let this user's other programs in, as long as it lasts."""
        with (
            socket.socket(socket.AF_UNIX) as listener,
            socket_path(self.directory, SOCKET) as short,
        ):
            os.fchmod(listener.fileno(), 0o600)  # so the file is never anybody else's
            listener.bind(short)
            listener.listen()
            thread = threading.Thread(
                target=self._accept, args=(listener,), name="guest-server", daemon=True
            )
            thread.start()
            try:
                yield
            finally:
                (self.directory / SOCKET).unlink(missing_ok=True)
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(5)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            try:
                request = msgspec.json.decode(_read_line(connection), type=Request)
                with self._lock:
                    one = self._guests.get(request.guest)
                if one is None:
                    raise UsageError(
                        f"{request.guest} is not kept", f"kept are: {', '.join(self.names)}"
                    )
                argv, limits, how = supervise(one.guest, one.facts, request.request)
                with one.guest.open(argv, limits, Deadline.after(START_SECONDS), how) as stream:
                    connection.sendall(msgspec.json.encode(Response()) + b"\n")
                    _forward(connection, stream)
            except msgspec.MsgspecError as error:
                connection.sendall(
                    msgspec.json.encode(Response(f"not understood: {error}")) + b"\n"
                )
            except FootholdError as error:
                answer = Response(str(error), error.remedy)
                connection.sendall(msgspec.json.encode(answer) + b"\n")


@contextlib.contextmanager
def connect(directory: Path, guest: str, request: ProgramRequest) -> Iterator[Stream]:
    """Start a program in a guest that another process keeps; `directory` is that of its run.

    Raises UsageError if no process of this user keeps guests there, or if the guest cannot run the
    program.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _socket_beneath(directory) as path:
                connection.connect(path)
        except OSError as error:
            raise UsageError(
                f"{directory.name} keeps no guest, or no longer",
                "`foothold run --keep-guests failed` keeps those in which a cell did not pass",
            ) from error
        if (user := peer_of(connection).user) not in (0, os.geteuid()):
            raise UsageError(
                f"the guests of {directory} are kept by the user {user}",
                "ask this user for the run directory, and repeat the cell: foothold repro",
            )
        connection.sendall(msgspec.json.encode(Request(guest, request)) + b"\n")
        answer: Response = decode(_read_line(connection), Response, f"the answer of {directory}")
        if answer.error:
            raise UsageError(answer.error, answer.remedy)
        yield _SocketStream(connection)


def attach(directory: Path, guest: str, request: ProgramRequest, streams: Streams) -> int:
    """Work in a guest that another process keeps; see `harness.interactive.shell.shell`."""
    with connect(directory, guest, request) as stream:
        try:
            return relay(Conversation(stream), streams)
        except LostContactError as error:
            raise GuestError(f"the guest went away: {error}", code=Code.GUEST_DIED) from error


class _SocketStream:
    """The frames of a program in a guest that another process keeps."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._connection.settimeout(deadline.socket_timeout)
        self._connection.sendall(data)

    def receive(self, deadline: Deadline) -> bytes:
        ready, _, _ = select.select([self._connection], [], [], deadline.remaining)
        if not ready:
            raise TimeoutError
        return self._connection.recv(65536)

    def complaint(self) -> str:
        return "the process that kept the guest has ended it"

    def close(self) -> None:
        self._connection.close()


def _forward(connection: socket.socket, stream: Stream) -> None:
    """Pass bytes on both ways until one side has gone."""
    gone = threading.Event()

    def read_input() -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                stream.send(data, Deadline.after(SEND_SECONDS))
        gone.set()

    threading.Thread(target=read_input, name="guest-server-input", daemon=True).start()
    while not gone.is_set():
        try:
            data = stream.receive(Deadline.after(POLL_SECONDS))
        except TimeoutError:
            continue
        if not data:
            return
        connection.sendall(data)


def _read_line(connection: socket.socket) -> bytes:
    """Read one line and not a byte more: frames may follow."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > MAX_LINE:
            raise InfrastructureError("the process that keeps the guest has gone away")
        line += byte
    return bytes(line)


@contextlib.contextmanager
def _socket_beneath(directory: Path) -> Iterator[str]:
    """Yield a path of the socket. A link in its place is not followed: it may lead to a service."""
    with socket_path(directory, SOCKET) as short:
        found = os.open(short, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(found).st_mode):
                raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), short)
            yield f"/proc/self/fd/{found}"
        finally:
            os.close(found)
