"""This machine itself, as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from foothold_lab.harness.guests.base import HOSTS_OWN, BootRecord, GuestConfig, Support, Tracer
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Record, Supervision
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import PipeStream, Stream
from foothold_lab.harness.transport.supervised import OWN_TRACER, agent_argv, measured, supervise
from foothold_lab.images import apt
from foothold_lab.images.builder import Builder
from foothold_lab.images.catalogue import HOST_AGENT
from foothold_lab.images.recipes import host_compiler

_PACKAGED = ("agent", "strace")


def needs(builder: Builder) -> tuple[str, ...]:
    """Name the images that native takes: where Debian's packages cannot be had the agent alone,
    from a cache or by this machine's own compiler. It traces by itself then.
    """
    if not apt.missing_tool() or all(map(builder.ready, _PACKAGED)):
        return _PACKAGED
    return ("agent",) if builder.ready("agent") else (HOST_AGENT,)


class Native:
    """The host as a guest: nothing to boot, nothing to confine, the subject under our agent."""

    scale = 1.0
    shares_live = True
    root = ""  # its own is the host's
    tracer: Tracer = "strace"
    unable: Mapping[str, str] = {**HOSTS_OWN, "memory": "the host's cgroups are not ours to change"}

    def __init__(self, name: str, workplace: GuestConfig) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self.share = str(workplace.share.absolute())
        # the interpreter itself, not the virtual environment's link to it
        self.python = os.path.realpath(sys.executable)
        self._place = workplace
        self.agent = ""

    def supported(self) -> Support:
        """Native needs the agent, or the means to build it."""
        builder = self._place.builder
        first, *others = needs(builder)
        if builder.ready(first) or (not others and host_compiler()):
            return Support(True)
        if not (why := apt.unavailable_reason()):
            return Support(True)
        return Support(
            False,
            f"the agent is not built yet, and cannot be: {why}",
            "install a C compiler, or bring the cache of a machine that has it: see docs/limits.md",
        )

    def boot(self, deadline: Deadline) -> Facts:
        """Measure this process's own address space, through the agent."""
        agent = self._place.builder.image(needs(self._place.builder)[0]) / "agent"
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
        on_checkpoint: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """See `Guest.run`."""
        with self.open(argv, limits, deadline, how) as stream:
            return supervise(stream, argv, deadline, on_checkpoint=on_checkpoint, how=how)

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        stream = PipeStream(agent_argv(self.agent, limits, argv, how, self._strace()))
        try:
            yield stream
        except LostContactError as error:
            what = f"the agent was killed under the subject: {error}"
            raise GuestError(what, code=Code.GUEST_DIED) from error
        finally:
            stream.close()

    def _strace(self) -> str:
        builder = self._place.builder
        packaged = needs(builder) == _PACKAGED
        return str(builder.image("strace") / "usr/bin/strace") if packaged else OWN_TRACER

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
