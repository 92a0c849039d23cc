"""A stream is a program's stdin and stdout in some guest, and nothing else."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Sequence
from typing import Protocol

from foothold_lab.harness.model.deadline import Deadline


class Stream(Protocol):
    """Bytes to and from one program."""

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it. Raises OSError if the program or its guest is gone, TimeoutError at the
        deadline: then a part may have been sent.
        """

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes, none at the end. Raises TimeoutError at the deadline."""

    def complaint(self) -> str:
        """Return what the program said on stderr, which is never the subject's. After the end."""

    def close(self) -> None:
        """End it: the agent at the other end kills all that it supervises."""


class PipeStream:
    """A program on this machine, over pipes."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._in, self._out = self._process.stdin, self._process.stdout
        self._err = self._process.stderr
        os.set_blocking(self._in.fileno(), False)

    @property
    def process_id(self) -> int:
        """The program."""
        return self._process.pid

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            _, ready, _ = select.select([], [self._in], [], deadline.remaining)
            if not ready:
                raise TimeoutError
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self._in.fileno(), rest) :]

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes, none at the end."""
        ready, _, _ = select.select([self._out], [], [], deadline.remaining)
        if not ready:
            raise TimeoutError
        return os.read(self._out.fileno(), 65536)

    def complaint(self) -> str:
        """Return what the agent said on stderr."""
        return self._err.read(4096).decode(errors="replace").strip()

    def close(self) -> None:
        """End it, and reap it."""
        with contextlib.suppress(BrokenPipeError):  # of what could not be sent something is left
            self._in.close()
        self._out.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        self._err.close()
