"""A conversation with a program: what goes in, what comes out, and agents that are none."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable

import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import SubjectError, UsageError
from foothold_lab.harness.model.record import Ending, Window
from foothold_lab.harness.transport.conversation import Conversation, Output
from foothold_lab.harness.transport.frames import FrameKind, LostContactError, frame
from tests.unit.transport.sealing import Sealer

END = frame(FrameKind.ENDED, json.dumps({"status": 3, "signal": 0}).encode())
SOON = Deadline.after(60)


class Stream:
    """An agent that says what it is told to."""

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self._pieces = deque(pieces)
        self._sealer = Sealer()
        self.heard: list[bytes] = []

    def send(self, data: bytes, deadline: Deadline) -> None:
        if not self._sealer.hear(data):
            self.heard.append(data)

    def receive(self, deadline: Deadline) -> bytes:
        piece = self._pieces.popleft() if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return self._sealer.seal(piece)

    def complaint(self) -> str:
        return "last words"

    def close(self) -> None:
        pass


class SplitStream(Stream):
    """Splits what the agent says into pieces of this size."""

    def __init__(self, pieces: Iterable[bytes | Exception], size: int) -> None:
        super().__init__(pieces)
        self._size = size
        self._rest = b""

    def receive(self, deadline: Deadline) -> bytes:
        self._rest = self._rest or super().receive(deadline)
        piece, self._rest = self._rest[: self._size], self._rest[self._size :]
        return piece


def test_receives_output_in_order_however_it_is_split() -> None:
    whole = (
        frame(FrameKind.STARTED, b'{"pid":7,"page_size":4096}')
        + frame(FrameKind.STDOUT, b"out")
        + frame(FrameKind.STDERR, b"err")
        + END
    )
    for size in (1, 3, 7, len(whole)):
        talk = Conversation(SplitStream([whole], size))
        assert talk.receive(SOON) == Output("out", b"out")
        assert talk.receive(SOON) == Output("err", b"err")
        end = talk.receive(SOON)
        assert isinstance(end, Ending)
        assert end.status == 3


def test_sends_input_in_frames_that_fit_a_uml_line() -> None:
    stream = Stream([])
    talk = Conversation(stream)
    talk.send(bytes(5000))
    talk.resize(Window(50, 132))
    talk.close_input()
    assert all(len(each) < 3000 for each in stream.heard)
    assert sum(len(each) - 5 for each in stream.heard[:-2]) == 5000
    assert stream.heard[-2] == frame(FrameKind.RESIZE, b"\x32\x00\x84\x00")
    assert stream.heard[-1] == frame(FrameKind.CLOSE_INPUT)


def test_reports_a_program_that_cannot_start() -> None:
    with pytest.raises(SubjectError, match="could not be started: no such file"):
        Conversation(Stream([frame(FrameKind.FAILED, b"no such file")])).receive(SOON)


def test_reports_a_user_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="--user nosuch"):
        Conversation(Stream([frame(FrameKind.UNKNOWN_USER, b"nosuch")])).receive(SOON)


@pytest.mark.parametrize(
    "piece", [b"", ConnectionResetError("gone"), b"?\0\0\0\0", b"o\xff\xff\xff\xff"]
)
def test_reports_lost_contact(piece: bytes | Exception) -> None:
    with pytest.raises(LostContactError):
        Conversation(Stream([piece])).receive(SOON)


def test_a_timeout_is_not_the_end() -> None:
    talk = Conversation(Stream([TimeoutError(), END]))
    with pytest.raises(TimeoutError):
        talk.receive(SOON)
    assert isinstance(talk.receive(SOON), Ending)
