"""An interactive program: `agent run` at the other end of a stream, without evidence."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from dataclasses import dataclass
from typing import Literal

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import SubjectError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Window
from foothold_lab.harness.transport.frames import (
    FrameKind,
    Frames,
    LostContactError,
    frame,
    new_key,
    refused_limit,
    unknown_user,
)
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import decode

SEND_SECONDS = 86400.0  # a person may type ahead of a program that does not read
_MOST_INPUT = 2048  # bytes of a frame: a UML line stalls at 4,095 unread bytes


@dataclass(frozen=True)
class Output:
    """Bytes that a program has written to one of its outputs. A terminal has only `out`."""

    stream: Literal["out", "err"]
    data: bytes


class Conversation:
    """Input and output of a running program. One thread may send while another one receives."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        key = new_key()
        self._frames = Frames(key)
        self._received: deque[Output | Ending] = deque()
        self._send_frame(frame(FrameKind.KEY, key))

    def send(self, data: bytes) -> None:
        """Send bytes to the input of the program. If it has ended, `receive` says how."""
        for at in range(0, len(data), _MOST_INPUT):
            self._send_frame(frame(FrameKind.INPUT, data[at : at + _MOST_INPUT]))

    def close_input(self) -> None:
        """Close the input of the program. On a terminal the end of input is a character instead."""
        self._send_frame(frame(FrameKind.CLOSE_INPUT))

    def resize(self, window: Window) -> None:
        """Change the size of the terminal of the program."""
        self._send_frame(frame(FrameKind.RESIZE, struct.pack("<HH", window.rows, window.columns)))

    def receive(self, deadline: Deadline) -> Output | Ending:
        """Return the next output, or how the program ended, which is the last answer.

        Raises TimeoutError; SubjectError if it could not be started, or has forged frames;
        LostContactError.
        """
        while not self._received:
            try:
                data = self._stream.receive(deadline)
            except TimeoutError:
                raise
            except OSError as error:
                raise LostContactError(str(error)) from error
            if not data:
                raise LostContactError(self._stream.complaint())
            for kind, payload in self._frames.take(data):
                self._take(kind, payload)
        return self._received.popleft()

    def _take(self, kind: FrameKind, payload: bytes) -> None:
        if kind == FrameKind.STDOUT:
            self._received.append(Output("out", payload))
        elif kind == FrameKind.STDERR:
            self._received.append(Output("err", payload))
        elif kind == FrameKind.ENDED:
            self._received.append(decode(payload, Ending))
        elif kind == FrameKind.FAILED:
            what = f"the program could not be started: {payload.decode(errors='replace')}"
            raise SubjectError(what, code=Code.SUBJECT_NOT_STARTED)
        elif kind == FrameKind.REFUSED:
            raise refused_limit(payload)
        elif kind == FrameKind.UNKNOWN_USER:
            raise unknown_user(payload.decode(errors="replace"))
        elif kind not in (FrameKind.STARTED, FrameKind.STOPPED, FrameKind.MAPS, FrameKind.TRACE):
            raise LostContactError(f"a frame of kind {kind!r}, which the agent does not send")

    def _send_frame(self, data: bytes) -> None:
        """Send, unless the agent has ended: then its last frames can still be read."""
        with contextlib.suppress(OSError):
            self._stream.send(data, Deadline.after(SEND_SECONDS))
