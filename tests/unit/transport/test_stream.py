"""A program at the other end of pipes: it may go at any moment."""

from __future__ import annotations

import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.transport.stream import PipeStream


def test_closes_with_unsent_data() -> None:
    stream = PipeStream(["sh", "-c", "exec <&-; echo gone; exec cat /dev/null"])
    assert stream.receive(Deadline.after(60)) == b"gone\n"
    with pytest.raises(BrokenPipeError):
        stream.send(b"to nobody")
    stream.close()
