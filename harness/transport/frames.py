"""Frames between the harness and `agent run`: images/agent/frames.h.

A frame is one letter (its kind), a length of 4 bytes (little endian), and that many bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum

from foothold_lab.harness.model.record import Record

MOST_FRAME = 16 << 20  # bytes; the agent sends no longer frame
_HEADER = struct.Struct("<cI")


class FrameKind(bytes, Enum):
    """The kinds of frames. Names and values are those of `enum frame_kind` in the agent."""

    # to the agent
    INPUT = b"i"
    """Bytes for the standard input of the subject."""
    CLOSE_INPUT = b"c"
    """Close the standard input of the subject."""
    STOP = b"k"
    """Stop all threads of the subject, send its maps, and kill it."""
    RESIZE = b"w"
    """Rows and columns of its terminal, 2 bytes each, little endian."""
    # both ways
    MAPS = b"m"
    """A request for /proc/PID/maps, and the answer."""
    # from the agent
    STARTED = b"s"
    """{"pid":N}: the subject starts."""
    STDOUT = b"o"
    """Its standard output."""
    STDERR = b"e"
    """Its standard error."""
    TRACE = b"t"
    """A part of the trace."""
    EXIT_MAPS = b"l"
    """Its maps when it is about to exit."""
    FILE = b"d"
    """A file that it has written: its name, NUL, the content. Without a name: there were more."""
    STOPPED = b"h"
    """{"reason":...}: all its threads are stopped; its maps follow, then it is killed."""
    FAILED = b"f"
    """Text: why the subject was not started; before STARTED: it was not traced."""
    ENDED = b"x"
    """{"status":...}; this frame or FAILED is the last."""


class LostContactError(Exception):
    """The stream ended before the program did: its guest is dying, or the agent is.

    `record` is what was recorded of the program until then.
    """

    record: Record | None = None


def frame(kind: FrameKind, payload: bytes = b"") -> bytes:
    """Return a frame as it is sent."""
    return _HEADER.pack(kind.value, len(payload)) + payload


class Frames:
    """Assembles frames from the pieces in which their bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """Return the frames that are complete, as (kind, payload).

        Raises LostContactError for a kind or a length that the agent does not send.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            letter, length = _HEADER.unpack_from(self._buffer)
            if length > MOST_FRAME:
                raise LostContactError(f"a frame of {length} bytes: this is not our agent")
            if len(self._buffer) < _HEADER.size + length:
                return
            payload = bytes(self._buffer[_HEADER.size : _HEADER.size + length])
            del self._buffer[: _HEADER.size + length]
            yield _kind(letter), payload


def _kind(letter: bytes) -> FrameKind:
    try:
        return FrameKind(letter)
    except ValueError:
        raise LostContactError(f"a frame of kind {letter!r}: this is not our agent") from None
