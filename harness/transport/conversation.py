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
from foothold_lab.harness.transport.frames import FrameKind, Frames, LostContactError, frame
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import decode

_MOST_INPUT = 2048  # bytes of a frame: a UML line stalls at 4,095 unread


@dataclass(frozen=True)
class Said:
    """What the program has written; on a terminal there is `out` alone."""

    where: Literal["out", "err"]
    data: bytes


class Conversation:
    """The two ends of a program's input and output. `tell` may be called from another thread than
    `hear`.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._frames = Frames()
        self._heard: deque[Said | Ending] = deque()

    def tell(self, data: bytes) -> None:
        """Send bytes to its input. If it has ended, `hear` says how."""
        for at in range(0, len(data), _MOST_INPUT):
            self._send(frame(FrameKind.INPUT, data[at : at + _MOST_INPUT]))

    def end(self) -> None:
        """Close its input, which must be no terminal: there, an end is a character."""
        self._send(frame(FrameKind.CLOSE_INPUT))

    def resize(self, window: Window) -> None:
        """Tell it that its terminal has another size now."""
        self._send(frame(FrameKind.RESIZE, struct.pack("<HH", window.rows, window.columns)))

    def hear(self, deadline: Deadline) -> Said | Ending:
        """Return what it says next, or how it ended: then there is nothing more.

        Raises TimeoutError, SubjectError if it could not be started, LostContactError.
        """
        while not self._heard:
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
        return self._heard.popleft()

    def _take(self, kind: FrameKind, payload: bytes) -> None:
        if kind == FrameKind.STDOUT:
            self._heard.append(Said("out", payload))
        elif kind == FrameKind.STDERR:
            self._heard.append(Said("err", payload))
        elif kind == FrameKind.ENDED:
            self._heard.append(decode(payload, Ending))
        elif kind == FrameKind.FAILED:
            what = f"it could not be started: {payload.decode(errors='replace')}"
            raise SubjectError(what, code=Code.SUBJECT_NOT_STARTED)
        elif kind not in (FrameKind.STARTED, FrameKind.MAPS, FrameKind.TRACE):
            raise LostContactError(f"a frame of kind {kind!r}: this is not our agent")

    def _send(self, data: bytes) -> None:
        """Send, unless the agent has ended: then its last frames can still be read."""
        with contextlib.suppress(OSError):
            self._stream.send(data)
