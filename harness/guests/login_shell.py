"""Reads what a program writes that the login shell of a user starts, over SSH.

The shell may print text of its own first. It may be hostile, so all that is read is bounded.
"""

from __future__ import annotations

from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.ssh import SshStream

READY = "ready"
MOST_NOISE = 64 << 10  # bytes that the shell may print before the program does
MOST_SHOWN = 300  # characters of it that a message shows
SHELL = (
    "its login shell may print or read too much for commands that are not interactive, or run another "
    "command instead (authorized_keys, ForceCommand)"
)


def skip_noise(stream: SshStream, token: str, deadline: Deadline, failed: str = "") -> None:
    """Read until the line `ready TOKEN` of the program.

    Raises GuestError with what came instead; `failed` is a line that says that it will not come.
    """
    mark, noise = f"\n{READY} {token}\n".encode(), b""
    while mark not in noise:
        try:
            data = stream.receive(deadline)
        except TimeoutError:
            data = b""
        noise += data
        refused = failed and f"\n{failed}\n".encode() in noise
        if not data or refused or len(noise) > MOST_NOISE:
            raise _not_started(noise + stream.complaint().encode())
    stream.put_back(noise.partition(mark)[2])


def read_until(stream: SshStream, end: bytes, most: int, deadline: Deadline) -> bytes:
    """Return the bytes before an end. Raises GuestError if it is not among the first `most`."""
    data = b""
    while end not in data:
        more = stream.receive(deadline)
        data += more
        if not more or len(data) > most:
            raise _not_started(data + stream.complaint().encode())
    before, _, rest = data.partition(end)
    stream.put_back(rest)
    return before


def read_exactly(stream: SshStream, size: int, deadline: Deadline) -> bytes:
    """Return that many bytes, or fewer at the end."""
    data = b""
    while len(data) < size and (more := stream.receive(deadline)):
        data += more
    stream.put_back(data[size:])
    return data[:size]


def _not_started(printed: bytes) -> GuestError:
    said = printed.decode(errors="replace").strip()
    what = "the agent does not start there"
    return GuestError(
        f"{what}: {escape_line(said[-MOST_SHOWN:])}" if said else what,
        SHELL,
        code=Code.GUEST_PROTOCOL,
    )
