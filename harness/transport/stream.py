"""A stream is a program's stdin and stdout in some guest, and nothing else."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import Protocol

from foothold_lab.harness.model.deadline import Deadline

CLOSE_SECONDS = 10.0  # for the agent to end all that it supervises


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
    """A program on this machine, over pipes.

    The program is searched in PATH. keeper: the command line of `agent keep`, which keeps it. All that
    the program starts ends with it, also if the program is killed or stopped.
    """

    def __init__(self, argv: Sequence[str], keeper: Sequence[str] = ()) -> None:
        owned, self._owner = os.pipe()
        program = shutil.which(argv[0]) or argv[0]  # a keeper does not search PATH
        keep = [*keeper, "--owner", str(owned), "--"] if keeper else []
        try:
            self._process = subprocess.Popen(
                [*keep, program, *argv[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(owned,) if keeper else (),
            )
        except OSError:
            os.close(self._owner)
            raise
        finally:
            os.close(owned)
        self._kept = len(keeper) > 0
        self._closed = False
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
        if self._closed:
            return
        self._closed = True
        os.close(self._owner)
        self._process.send_signal(signal.SIGCONT)  # it cannot end while it is stopped
        with contextlib.suppress(BrokenPipeError):  # of what could not be sent something is left
            self._in.close()
        self._out.close()
        if not _ends(self._process, CLOSE_SECONDS):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._err.close()

    @property
    def keeper_was_killed(self) -> bool:
        """Whether the keeper was killed, so that processes may be left. After `close`."""
        return self._kept and self._process.returncode < 0


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process. `Popen.wait` with a timeout sleeps: 0.3 ms more for each cell."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:  # Linux before 5.3, or a filter of system calls
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.poll() is not None
    try:
        ended = select.poll()  # select(2) knows no descriptor above 1023
        ended.register(descriptor, select.POLLIN)
        return bool(ended.poll(seconds * 1000))
    finally:
        os.close(descriptor)
