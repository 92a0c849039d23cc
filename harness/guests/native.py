"""This machine itself, as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.cells import Limits
from harness.channels.frames import LostContactError
from harness.channels.stream import PipeStream, Stream
from harness.channels.supervised import agent_argv, measured, supervise
from harness.deadline import Deadline
from harness.errors import GuestError
from harness.facts import Facts
from harness.guests.guest import HOSTS_OWN, Boot, Support, Tracer, Workplace
from harness.record import UNTRACED, Record, Supervision
from images import apt


class Native:
    """The host as a guest: nothing to boot, nothing to confine, the subject under our agent."""

    scale = 1.0
    shares_live = True
    root = ""  # its own is the host's
    tracer: Tracer = "strace"
    unable: Mapping[str, str] = {**HOSTS_OWN, "memory": "the host's cgroups are not ours to change"}

    def __init__(self, name: str, workplace: Workplace) -> None:
        self.name = name
        self.boot_record = Boot()
        self.share = str(workplace.share.absolute())
        # the interpreter itself, not the virtual environment's link to it
        self.python = os.path.realpath(sys.executable)
        self._place = workplace
        self.agent = ""

    def supported(self) -> Support:
        """Native needs the agent, or the means to build it."""
        if not self._place.builder.ready("agent") and (why := apt.available()):
            return Support(False, f"the agent is not built yet, and cannot be: {why}",
                           "build the images on a Debian machine, or install apt")  # fmt: skip
        return Support(True)

    def boot(self, deadline: Deadline) -> Facts:
        """Measure this process's own address space, through the agent."""
        agent = self._place.builder.image("agent") / "agent"
        self.agent = str(agent)
        self.boot_record.argv = (self.agent, "facts")
        self.boot_record.provenance["agent"] = agent.parent.name
        stream = PipeStream(self.boot_record.argv)
        try:
            return measured(stream, deadline)
        finally:
            stream.close()

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        on_hold: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """See `Guest.run`."""
        with self.open(argv, limits, deadline, how) as stream:
            return supervise(stream, argv, deadline, on_hold=on_hold, how=how)

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        strace = str(self._place.builder.image("strace") / "usr/bin/strace") if how.trace else ""
        stream = PipeStream(agent_argv(self.agent, limits, argv, how, strace))
        try:
            yield stream
        except LostContactError as error:
            raise GuestError(f"the agent was killed under the subject: {error}") from error
        finally:
            stream.close()

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        shutil.copy2(source, target)

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        shutil.copy2(source, target)

    def diagnose(self) -> str:
        """A host has no console that would be ours."""
        return ""

    def stop(self) -> None:
        """Nothing was started that still runs."""
