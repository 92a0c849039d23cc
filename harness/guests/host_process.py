"""A subject on the kernel of this machine, under the agent, which a keeper keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from foothold_lab.harness.guests.unreadable_process import unreadable_process
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.arguments import ArgumentStream
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import PipeStream, Stream


@contextlib.contextmanager
def keep_supervisor(
    agent: str, command: Sequence[str], arguments: Sequence[str]
) -> Iterator[Stream]:
    """Start `agent run` by a command, under a keeper; send its arguments, and yield its stream.

    A subject has the rights of the agent, so it can kill or stop it. Then the keeper continues it, or
    ends all processes of the subject. This process is not readable for it. Raises GuestError if the
    agent was killed; the error says so if the keeper was killed as well, because processes of the
    subject may then live on.
    """
    with unreadable_process():
        yield from _kept_stream(agent, command, arguments)


def _kept_stream(agent: str, command: Sequence[str], arguments: Sequence[str]) -> Iterator[Stream]:
    stream = PipeStream(command, keeper=agent)
    try:
        yield ArgumentStream(stream, arguments)
    except LostContactError as error:
        what = f"the agent was killed under the subject: {error}"
        stream.close()
        if stream.keeper_was_killed:
            what += "; its keeper was killed too, so processes of the subject may still run"
        died = GuestError(what, code=Code.GUEST_DIED)
        died.record = error.record
        raise died from error
    finally:
        stream.close()
