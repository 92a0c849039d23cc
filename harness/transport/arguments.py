"""The arguments of `agent run`, which it reads from its standard input: images/agent/arguments.h."""

from __future__ import annotations

import os
from collections.abc import Sequence

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.transport.frames import FrameKind, frame
from foothold_lab.harness.transport.stream import Stream

MOST_ARGUMENTS = 6 << 20  # bytes; no kernel takes more: execve(2)
REMEDY = "give long input to the program by --stdin or --file"


class ArgumentStream:
    """A stream to `agent run`: its arguments precede the first bytes that are sent.

    One message has both: two would be two packets of SSH. Raises what `encode_arguments` raises.
    """

    def __init__(self, stream: Stream, arguments: Sequence[str]) -> None:
        self._stream = stream
        self._unsent = frame(FrameKind.ARGUMENTS, encode_arguments(arguments))

    def send(self, data: bytes, deadline: Deadline) -> None:
        """See `Stream.send`."""
        arguments, self._unsent = self._unsent, b""
        self._stream.send(arguments + data, deadline)

    def receive(self, deadline: Deadline) -> bytes:
        """See `Stream.receive`."""
        return self._stream.receive(deadline)

    def complaint(self) -> str:
        """See `Stream.complaint`."""
        return self._stream.complaint()

    def close(self) -> None:
        """See `Stream.close`."""
        self._stream.close()


def refused_arguments(argv: Sequence[str]) -> UsageError:
    """Return the error of arguments that the kernel of a guest refuses with E2BIG: execve(2)."""
    sizes = [len(os.fsencode(each)) + 1 for each in argv]
    return UsageError(
        f"the kernel refuses arguments of {sum(sizes):,} bytes, the longest of {max(sizes):,}: with "
        "the environment it takes a quarter of the stack limit (8 MiB, if nothing changes it), and "
        "for each 32 pages (131,072 bytes on x86-64)",
        REMEDY,
    )


def encode_arguments(arguments: Sequence[str]) -> bytes:
    """Return the payload of a frame with arguments. Raises UsageError if no kernel takes them."""
    words = [os.fsencode(each) for each in arguments]
    if any(b"\0" in each for each in words):
        raise UsageError("an argument or a variable of the program has a NUL byte", REMEDY)
    payload = b"".join(each + b"\0" for each in words)
    if len(payload) > MOST_ARGUMENTS:
        raise UsageError(
            f"the arguments and variables of the program have {len(payload):,} bytes: no kernel "
            f"takes more than {MOST_ARGUMENTS:,}",
            REMEDY,
        )
    return payload
