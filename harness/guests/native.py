"""This machine itself."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.guests.base import (
    HOST_LIMITS_AND_CGROUPS,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
    image_support,
)
from foothold_lab.harness.guests.host_copy import copy_on_host
from foothold_lab.harness.guests.host_process import keep_supervisor
from foothold_lab.harness.guests.working_directory import check_user, working_directory
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.stream import PipeStream, Stream
from foothold_lab.harness.transport.supervised import OWN_TRACER, agent_arguments, measured
from foothold_lab.images import apt
from foothold_lab.images.builder import Builder
from foothold_lab.images.catalogue import HOST_AGENT
from foothold_lab.images.compiler import host_compiler

_PACKAGED = ("agent", "strace")
_COMPILE = "or install a C compiler, with which native needs no packages"


def needs(builder: Builder) -> tuple[str, ...]:
    """Return the images that native needs: agent and strace.

    Where Debian's packages cannot be downloaded, it is the agent alone, from a cache or built by
    the compiler of this machine. The agent then traces by itself.
    """
    if all(map(builder.ready, _PACKAGED)) or not apt.obstacle():
        return _PACKAGED
    return ("agent",) if builder.ready("agent") else (HOST_AGENT,)


CAPABILITIES = Capabilities(
    own_kernel=False,
    host_paths=True,
    shares_live=True,
    unsupported_limits=HOST_LIMITS_AND_CGROUPS,
)


class Native:
    """The host as a guest: nothing boots, nothing is confined, the agent supervises subjects."""

    scale = 1.0
    capabilities = CAPABILITIES

    def __init__(self, name: str, config: GuestConfig) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self.paths = GuestPaths(
            share=str(config.share.absolute()),
            placement="host",
            # the interpreter itself, not the link to it in the virtual environment
            python=os.path.realpath(sys.executable),
            agent="",
        )
        self._config = config

    def supported(self) -> Support:
        """Native needs the agent, or what it takes to build it."""
        builder = self._config.builder
        first, *others = needs(builder)
        if builder.ready(first) or (not others and host_compiler()):
            return Support(True)
        support = image_support(builder, _PACKAGED)
        return support if support.ok else replace(support, remedy=f"{support.remedy}; {_COMPILE}")

    def boot(self, deadline: Deadline) -> Facts:
        """Measure this process's own address space, through the agent."""
        agent = self._config.builder.image(self._needs[0]) / "agent"
        self.paths = replace(self.paths, agent=str(agent))
        self.boot_record.argv = (self.paths.agent, "facts")
        self.boot_record.provenance["agent"] = agent.parent.name
        stream = PipeStream(self.boot_record.argv)
        try:
            return measured(stream, deadline)
        finally:
            stream.close()

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        how = how.started_by(os.geteuid())
        ours = [word for word in argv[1:] if word.startswith(f"{self._config.directory}/")]
        check_user(self.name, how.user, argv[0], *ours)
        with working_directory(self._config.directory, how) as placed:
            arguments = agent_arguments(limits, argv, placed, self._strace)
            command = (self.paths.agent, "run")
            with keep_supervisor(self.paths.agent, command, arguments) as stream:
                yield stream

    @functools.cached_property
    def _needs(self) -> tuple[str, ...]:
        return needs(self._config.builder)

    @functools.cached_property
    def _strace(self) -> str:
        builder = self._config.builder
        packaged = self._needs == _PACKAGED
        return str(builder.image("strace") / "usr/bin/strace") if packaged else OWN_TRACER

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        copy_on_host(source, target)

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        shutil.copy2(source, target)

    def diagnose(self) -> str:
        """Native has no console."""
        return ""

    def stop(self) -> None:
        """No process of it runs."""
