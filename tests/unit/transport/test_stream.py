"""A program at the other end of pipes: it may go at any moment."""

from __future__ import annotations

import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.transport.stream import PipeStream


def test_what_could_not_be_sent_is_no_error_of_the_end() -> None:
    stream = PipeStream(["sh", "-c", "exec <&-; echo gone; exec cat /dev/null"])
    assert stream.receive(Deadline.after(60)) == b"gone\n"
    with pytest.raises(BrokenPipeError):
        stream.send(b"to nobody")
    stream.close()
