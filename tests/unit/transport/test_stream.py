"""A program at the other end of pipes: it may go at any moment."""

from __future__ import annotations

import os
import signal

import pytest

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.transport.stream import PipeStream


def test_closes_with_unsent_data() -> None:
    stream = PipeStream(["sh", "-c", "exec <&-; echo gone; exec cat /dev/null"])
    assert stream.receive(Deadline.after(60)) == b"gone\n"
    with pytest.raises(BrokenPipeError):
        stream.send(b"to nobody", Deadline.after(60))
    stream.close()


def test_a_send_ends_at_its_deadline() -> None:
    stream = PipeStream(["sh", "-c", "exec sleep 60"])
    with pytest.raises(TimeoutError):
        stream.send(bytes(1 << 20), Deadline.after(0.05))
    os.kill(stream.process_id, signal.SIGKILL)
    stream.close()
