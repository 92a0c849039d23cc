"""What a session and a keeper say to each other: JSON documents, each after its length."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import (
    FootholdError,
    GuestError,
    InfrastructureError,
    UnsupportedError,
    UsageError,
)
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.errors import ImageError

T = TypeVar("T")
MOST_BYTES = 64 << 20  # of a message: a verdict has the end of what a program has printed
_LENGTH = struct.Struct(">I")
_ERRORS: dict[str, type[FootholdError]] = {
    each.__name__: each for each in (GuestError, UnsupportedError, UsageError)
}


class Ready(msgspec.Struct, tag=True):
    """The guest is booted, and sound."""

    facts: Facts


class RunCell(msgspec.Struct, tag=True):
    """Run a cell, and write its evidence into a directory."""

    cell: Cell
    subject: Subject
    directory: str


class Ran(msgspec.Struct, tag=True):
    """The cell has run. A guest that is `damaged` is not kept any longer."""

    verdict: Verdict
    console: str
    damaged: bool


class Failed(msgspec.Struct, tag=True):
    """An error instead of an answer."""

    kind: str
    message: str
    remedy: str

    @classmethod
    def of(cls, error: FootholdError | ImageError) -> Failed:
        """Return the message for an error."""
        return cls(kind=type(error).__name__, message=str(error), remedy=error.remedy)

    def error(self) -> FootholdError:
        """Return the error of this message."""
        return _ERRORS.get(self.kind, InfrastructureError)(self.message, self.remedy)


Answer = Ready | Ran | Failed


def send(connection: socket.socket, message: object) -> None:
    """Send a message. Raises OSError."""
    data = msgspec.json.encode(message, enc_hook=str)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket, kind: Any) -> Any:
    """Receive a message of a kind, a type or a union of types.

    Raises EOFError if the other side has gone, OSError, TimeoutError, msgspec.MsgspecError.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    if length > MOST_BYTES:
        raise OSError("a message is too long")
    return msgspec.json.decode(_read(connection, length), type=kind, dec_hook=_convert)


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the other side has gone")
        data += part
    return bytes(data)


def _convert(kind: type, value: object) -> object:
    return Path(str(value)) if kind is Path else kind(value)
