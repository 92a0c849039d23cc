"""The arguments of `agent run`, which precede the first bytes that are sent to it."""

from __future__ import annotations

import json
import struct

import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.transport.arguments import MOST_ARGUMENTS, ArgumentStream
from foothold_lab.harness.transport.supervised import supervise
from tests.unit.transport.sealing import Sealer


class Sent:
    """A stream that keeps what is sent, and answers with frames of the agent."""

    def __init__(self, *answers: bytes) -> None:
        self.sent = b""
        self._answers = list(answers)
        self._sealer = Sealer()

    def send(self, data: bytes, deadline: Deadline) -> None:
        self.sent += data
        self._sealer.hear(data[-37:])  # the frame with the key

    def receive(self, deadline: Deadline) -> bytes:
        return self._sealer.seal(self._answers.pop(0)) if self._answers else b""

    def complaint(self) -> str:
        return "complaint"

    def close(self) -> None:
        self.sent += b"closed"


def frame(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload


def test_sends_the_arguments_once_before_the_first_bytes() -> None:
    inner = Sent()
    stream = ArgumentStream(inner, ["--", "a b", "", "\udcff"])
    stream.send(b"first", Deadline.after(1))
    stream.send(b"second", Deadline.after(1))
    assert inner.sent == b"v\x0a\0\0\0--\0a b\0\0\xff\0firstsecond"
    assert (stream.receive(Deadline.after(1)), stream.complaint()) == (b"", "complaint")
    stream.close()
    assert inner.sent.endswith(b"closed")


@pytest.mark.parametrize(
    ("argument", "message"), [("x" * MOST_ARGUMENTS, "6,291,457 bytes"), ("a\0b", "NUL byte")]
)
def test_refuses_arguments_that_no_kernel_takes(argument: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        ArgumentStream(Sent(), [argument])
    assert "--stdin" in caught.value.remedy


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"s", b'{"pid":7,"page_size":4096}')
        + frame(b"f", b"cannot execute x: Argument list too long"),
        frame(b"t", b"strace: exec: Argument list too long\n") + frame(b"f", b""),
    ],
    ids=["untraced", "traced"],
)
def test_arguments_that_the_kernel_refuses_are_an_error_of_usage(answer: bytes) -> None:
    argv = ("x", "y" * 200_000)
    with pytest.raises(UsageError, match="arguments of 200,003 bytes, the longest of 200,001"):
        supervise(ArgumentStream(Sent(answer), ["--", *argv]), argv, Deadline.after(5))


def test_a_program_gets_its_arguments_before_the_key() -> None:
    ending = {"status": 0, "signal": 0, "wall": 0.5, "user": 0.25, "system": 0.25, "max_rss": 4096,
              "minor_faults": 1, "outlived": 0}  # fmt: skip
    answer = frame(b"s", b'{"pid":7,"page_size":4096}') + frame(b"x", json.dumps(ending).encode())
    inner = Sent(answer)
    assert supervise(ArgumentStream(inner, ["--", "x"]), ["x"], Deadline.after(5)).pid == 7
    assert inner.sent.startswith(frame(b"v", b"--\0x\0") + b"n")
