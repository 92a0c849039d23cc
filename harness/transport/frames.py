"""Frames between the harness and `agent run`: images/agent/frames.h.

A frame is one letter (its kind), a length of 4 bytes (little endian), and that many bytes. A frame
of the agent has a seal before these bytes, which a program in the guest cannot make: images/agent/seal.h.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from collections.abc import Iterator
from enum import Enum

from foothold_lab.harness.model.errors import SubjectError, UnsupportedError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Record

MOST_FRAME = 16 << 20  # bytes; the agent sends no longer frame
KEY_SIZE = 32  # bytes
HEADER = struct.Struct("<cI")  # of a frame: its kind, and the length of its payload
_SEAL_SIZE = 8
HEAD_SIZE = HEADER.size + _SEAL_SIZE  # of a frame of the agent


class FrameKind(bytes, Enum):
    """The kinds of frames. Names and values are those of `enum frame_kind` in the agent."""

    # to the agent
    ARGUMENTS = b"v"
    """The arguments of `agent run`, each with a NUL byte at its end; the first frame."""
    KEY = b"n"
    """The key of the seals, before any other frame but the arguments."""
    INPUT = b"i"
    """Bytes for the standard input of the subject."""
    CLOSE_INPUT = b"c"
    """Close the standard input of the subject."""
    STOP = b"k"
    """Stop all threads of the subject, send its maps, and kill it."""
    RESIZE = b"w"
    """Rows and columns of its terminal, 2 bytes each, little endian."""
    # to the agent, on a machine that is reached by SSH: images/agent/session.h
    REQUEST = b"q"
    """A command of the agent: images/agent/request.h."""
    ENTRY = b"a"
    """A file, directory or link to make: images/agent/placement.h."""
    CONTENT = b"b"
    """Bytes of that file."""
    # both ways
    SYNC = b"r"
    """A request for what failed of the files until here, and the answer: text, empty if nothing."""
    MAPS = b"m"
    """A request for /proc/PID/maps, and the answer."""
    # from the agent
    READY = b"p"
    """Empty: it has the key, and nothing of the subject runs yet. `Frames` keeps it to itself."""
    STARTED = b"s"
    """{"pid":N,"page_size":N}: the subject starts; the size of a page of its kernel in bytes."""
    STDOUT = b"o"
    """Its standard output."""
    STDERR = b"e"
    """Its standard error."""
    TRACE = b"t"
    """A part of the trace."""
    EXIT_MAPS = b"l"
    """Its maps when it is about to exit."""
    GUEST_STATE = b"g"
    """What a subject could have changed of the guest: images/agent/guest_state.h."""
    CUT = b"y"
    """Text: which evidence was longer than the agent sends."""
    FILE = b"d"
    """A file that it has written: its name, NUL, the content. Without a name: there were more."""
    STOPPED = b"h"
    """{"reason":...}: all its threads are stopped; its maps follow, then it is killed."""
    FAILED = b"f"
    """Text: why the subject was not started; before STARTED: it was not traced."""
    REFUSED = b"u"
    """Text: which limit this guest refuses; nothing was started."""
    UNKNOWN_USER = b"z"
    """Text: a user that its root file system does not have; nothing was started."""
    ENDED = b"x"
    """{"status":...}; this frame or one of the three above is the last."""


def refused_limit(payload: bytes) -> UnsupportedError:
    """Return the error that a frame REFUSED stands for."""
    return UnsupportedError(
        f"the guest refuses the limit: {payload.decode(errors='replace')}",
        "take another value, or another guest",
        code=Code.UNSUPPORTED_LIMIT,
    )


def unknown_user(user: str) -> UsageError:
    """Return the error for a user that the root file system of a program does not have."""
    return UsageError(
        f"--user {user}: the root file system of the program has no such user",
        "give the number of a user, or a name of /etc/passwd there; in a guest, --file /etc/passwd "
        "brings one",
    )


class LostContactError(Exception):
    """The stream ended before the program did: its guest is dying, or the agent is.

    `record` is what was recorded of the program until then.
    """

    record: Record | None = None


def frame(kind: FrameKind, payload: bytes = b"") -> bytes:
    """Return a frame as it is sent."""
    return HEADER.pack(kind.value, len(payload)) + payload


def new_key() -> bytes:
    """Return a key that no program can guess."""
    return secrets.token_bytes(KEY_SIZE)


def seal(key: bytes, number: int, head: bytes, payload: bytes) -> bytes:
    """Return the seal of the frame with this number, from 0."""
    text = number.to_bytes(8, "little") + head + payload
    return hashlib.blake2s(text, key=key, digest_size=_SEAL_SIZE).digest()


class Frames:
    """Assembles the frames of one run of the agent from the pieces in which their bytes arrive."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """Return the frames that are complete, as (kind, payload), without READY.

        Raises LostContactError if the first bytes are not those of the agent, or for a kind or a
        length that it does not send; SubjectError for later bytes that the agent did not write: the
        program under test has written them.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            head = bytes(self._buffer[: HEADER.size])
            letter, length = HEADER.unpack(head)
            if length > MOST_FRAME or letter not in _KINDS:
                raise self._foreign(f"a frame of kind {letter!r} with {length} bytes")
            end = HEAD_SIZE + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEAD_SIZE:end])
            expected = seal(self._key, self._count, head, payload)
            if not hmac.compare_digest(self._buffer[HEADER.size : HEAD_SIZE], expected):
                raise self._foreign(f"a frame of kind {letter!r} without the seal of the agent")
            self._count += 1
            del self._buffer[:end]
            if letter != FrameKind.READY:
                yield FrameKind(letter), payload

    def _foreign(self, what: str) -> SubjectError | LostContactError:
        if not self._count:
            return LostContactError(f"{what}: this is not our agent")
        return SubjectError(
            f"bytes between the frames of the agent were not written by it: {what}",
            "the subject has forged evidence: judge it in a guest that you can throw away",
            code=Code.SUBJECT_FORGED,
        )


_KINDS = frozenset(kind.value for kind in FrameKind)
