"""Guests that outlive their cells, and the way in: a socket in the directory of whoever keeps them.

Somebody asks by one line of JSON what he wants in which guest; one line answers; from then on the
connection carries the frames of the agent that runs it, both ways, and whoever asked talks with it
as if the guest were his own (harness/transport/conversation.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.interactive.shell import START_SECONDS, Wanted, prepare
from foothold_lab.harness.interactive.terminal import Streams, converse
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    FootholdError,
    GuestError,
    InfrastructureError,
    UsageError,
)
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.transport.conversation import Conversation
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import Stream

SOCKET = "desk"  # its name in the directory
Mode = Literal["failed", "all"]
_LONGEST = 1 << 16  # bytes of a line
_LOOK = 1.0  # seconds after which it is seen that whoever asked has gone


@dataclass(frozen=True)
class Asked:
    """What comes in: something that is wanted in a guest."""

    guest: str
    wanted: Wanted


@dataclass(frozen=True)
class Answer:
    """What goes back: nothing to complain of, or what and the remedy."""

    complaint: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Guest:
    guest: Guest
    facts: Facts
    end: Callable[[], None]


@dataclass
class Kept:
    """Guests that are kept, those in which a cell did not pass or all, in a run's directory."""

    directory: Path
    mode: Mode = "all"
    _guests: dict[str, _Guest] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def wants(self, verdicts: Sequence[Verdict]) -> bool:
        """Is a guest to be kept in which these cells ran?"""
        bad = (Result.FAIL, Result.ERROR)
        return self.mode == "all" or any(verdict.result in bad for verdict in verdicts)

    def take(self, label: str, guest: Guest, facts: Facts, end: Callable[[], None]) -> None:
        """Take over a guest under a name; `end` is called when it is kept no longer."""
        with self._guard:
            self._guests[label] = _Guest(guest, facts, end)

    @property
    def names(self) -> tuple[str, ...]:
        """The guests that are kept."""
        with self._guard:
            return tuple(sorted(self._guests))

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End all of them."""
        with self._guard:
            guests = list(self._guests.values())
            self._guests.clear()
        for each in guests:
            each.end()

    @contextlib.contextmanager
    def reachable(self) -> Iterator[None]:
        """Let this user's other programs in, as long as it lasts."""
        with socket.socket(socket.AF_UNIX) as door, _short(self.directory) as short:
            os.fchmod(door.fileno(), 0o600)  # so the file is never anybody else's
            door.bind(short)
            door.listen()
            thread = threading.Thread(target=self._let_in, args=(door,), name="desk", daemon=True)
            thread.start()
            try:
                yield
            finally:
                (self.directory / SOCKET).unlink(missing_ok=True)
                door.shutdown(socket.SHUT_RDWR)
                thread.join(5)

    def _let_in(self, door: socket.socket) -> None:
        while True:
            try:
                connection, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            try:
                asked = msgspec.json.decode(_line(connection), type=Asked)
                with self._guard:
                    one = self._guests.get(asked.guest)
                if one is None:
                    raise UsageError(
                        f"{asked.guest} is not kept", f"kept are: {', '.join(self.names)}"
                    )
                argv, limits, how = prepare(one.guest, one.facts, asked.wanted)
                with one.guest.open(argv, limits, Deadline.after(START_SECONDS), how) as stream:
                    connection.sendall(msgspec.json.encode(Answer()) + b"\n")
                    _carry(connection, stream)
            except msgspec.MsgspecError as error:
                connection.sendall(msgspec.json.encode(Answer(f"not understood: {error}")) + b"\n")
            except FootholdError as error:
                answer = Answer(str(error), error.remedy)
                connection.sendall(msgspec.json.encode(answer) + b"\n")


@contextlib.contextmanager
def ask(directory: Path, guest: str, wanted: Wanted) -> Iterator[Stream]:
    """Ask whoever keeps guests in a directory for something in one of them.

    Raises UsageError if nobody does, or if it cannot be had there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _short(directory) as short:
                connection.connect(short)
        except OSError as error:
            raise UsageError(
                f"{directory.name} keeps no guest, or no longer",
                "`foothold run --keep failed` keeps those in which a cell did not pass",
            ) from error
        connection.sendall(msgspec.json.encode(Asked(guest, wanted)) + b"\n")
        answer = msgspec.json.decode(_line(connection), type=Answer)
        if answer.complaint:
            raise UsageError(answer.complaint, answer.remedy)
        yield _SocketStream(connection)


def visit(directory: Path, guest: str, wanted: Wanted, streams: Streams) -> int:
    """Work in a guest that somebody keeps; see `harness.interactive.shell.shell`."""
    with ask(directory, guest, wanted) as stream:
        try:
            return converse(Conversation(stream), streams)
        except LostContactError as error:
            raise GuestError(f"the guest went away: {error}") from error


class _SocketStream:
    """A program in a guest that somebody else keeps."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def receive(self, deadline: Deadline) -> bytes:
        ready, _, _ = select.select([self._connection], [], [], deadline.remaining)
        if not ready:
            raise TimeoutError
        return self._connection.recv(65536)

    def complaint(self) -> str:
        return "whoever kept the guest has ended it"

    def close(self) -> None:
        self._connection.close()


def _carry(connection: socket.socket, stream: Stream) -> None:
    """Pass bytes on both ways until one side has gone."""
    gone = threading.Event()

    def inwards() -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                stream.send(data)
        gone.set()

    threading.Thread(target=inwards, name="desk, inwards", daemon=True).start()
    while not gone.is_set():
        try:
            data = stream.receive(Deadline.after(_LOOK))
        except TimeoutError:
            continue
        if not data:
            return
        connection.sendall(data)


def _line(connection: socket.socket) -> bytes:
    """Read one line and not a byte more: frames may follow."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > _LONGEST:
            raise InfrastructureError("whoever keeps the guest has gone away")
        line += byte
    return bytes(line)


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A name of the socket that is short enough: there may be 107 bytes of it (unix(7))."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
