"""A subject on the kernel of this machine, under the agent, which a keeper keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from foothold_lab.harness.guests.host_cgroup import end_cgroup, make_cgroup
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
    ends all processes of the subject. If the keeper was killed as well, they are ended by their
    cgroup. This process is not readable for it. Raises GuestError if the agent was killed; the error
    says so if processes of the subject may live on, because this user can make no cgroup.
    """
    cgroup = make_cgroup()
    try:
        with unreadable_process():
            keeper = (agent, "keep", *(("--own-cgroup", str(cgroup)) if cgroup else ()))
            yield from _kept_stream(PipeStream(command, keeper=keeper), arguments, cgroup)
    finally:
        if cgroup:  # the keeper has removed it, unless it was killed
            end_cgroup(cgroup)


def _kept_stream(
    stream: PipeStream, arguments: Sequence[str], cgroup: Path | None
) -> Iterator[Stream]:
    with contextlib.closing(stream):
        try:
            yield ArgumentStream(stream, arguments)
        except LostContactError as error:
            stream.close()
            what = f"the agent was killed under the subject: {error}"
            if stream.keeper_was_killed:
                ended = cgroup is not None and end_cgroup(cgroup)
                what += f"; its keeper was killed too, {_ENDED if ended else _LEFT}"
            died = GuestError(what, code=Code.GUEST_DIED)
            died.record = error.record
            raise died from error


_ENDED = "and the processes of the subject were ended by their cgroup"
_LEFT = "so processes of the subject may still run"
