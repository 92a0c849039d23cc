"""A guest is seven verbs and no more; what is common to all guests is written once, above them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import UNTRACED, Record, Supervision
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.images.builder import Builder

NO_HOST_ROOT = "the root of this machine can be had in native and UML guests alone"
LEAVE_ROOT = "leave --root host: the program then brings its own libraries"
HOSTS_OWN: Mapping[str, str] = {
    "overcommit": "vm.overcommit_memory is the whole host's, and not ours to change",
    "max_map_count": "vm.max_map_count is the whole host's, and not ours to change",
}  # limits that a guest on the host's own kernel cannot do, and why

HOST_DIRECTORY = "/host"  # where a guest has the directory of the host that somebody has at hand
Tracer = Literal["strace", "emulator"]

BOOT_SECONDS = 20.0  # of a guest of ordinary speed; one booted in 1.2 s at its slowest (measured)


@dataclass(frozen=True)
class Support:
    """Can this machine run a guest of this kind? If not: why, and the remedy."""

    ok: bool
    reason: str = ""
    remedy: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GuestConfig:
    """What a guest is given: `directory` for its console and command line, `share` with the files
    that it hands in read-only, the processor it is pinned to (None: any), the images; and what a
    subject has for its root file system: that of the images, or read-only this machine's own.
    `memory` in MiB is what a guest with memory of its own has; None: what the allocator needs.
    `host_directory` is shown in the guest, read-only, at HOST_DIRECTORY.
    Without `snapshots` every boot is a cold one. `images` are those that it shows, read-only, at
    the place that they have on this machine.
    """

    directory: Path
    share: Path
    builder: Builder
    cpu: int | None = None
    root: Literal["image", "host"] = "image"
    memory: int | None = None
    host_directory: Path | None = None
    snapshots: bool = True
    images: tuple[str, ...] = ()

    def shown(self) -> tuple[Path, ...]:
        """Where the images that are to be shown are, on this machine and in the guest."""
        return tuple(self.builder.image(name) for name in self.images)


@dataclass
class BootRecord:
    """What is recorded of a boot: exactly what was started, from what, and what was unusual."""

    argv: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Guest(Protocol):
    """Somewhere with an address space of its own in which a program can run.

    `scale` is how many times slower than native it is expected to be: deadlines are multiplied by
    it. `share` is where the workplace's files are for a subject; if it `shares_live`, what comes
    into the workplace later is there as well. `root` the directory that subjects
    have for their root (empty: the guest's own), `python` the interpreter there, `agent` our agent.
    `unable` names the fields of Limits that its kind can never do, each with the reason. `tracer`
    says who writes down a subject's calls.
    """

    name: str
    scale: float
    share: str
    shares_live: bool
    root: str
    python: str
    agent: str
    unable: Mapping[str, str]
    tracer: Tracer
    boot_record: BootRecord

    def supported(self) -> Support:
        """Say whether this machine can boot it; quick, boots nothing, downloads nothing."""

    def boot(self, deadline: Deadline) -> Facts:
        """Start it, and return its address space as measured. Raises GuestError."""

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        on_checkpoint: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """Run a program to its end under supervision.

        Raises SubjectError if it misbehaves, GuestError if the guest goes first.
        """

    def open(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        how: Supervision = UNTRACED,
    ) -> AbstractContextManager[Stream]:
        """Start a program under our agent, and hand out the agent's end of it: frames.

        At the end of the context all that it started is gone. Raises GuestError.
        """

    def push(self, source: Path, target: str) -> None:
        """Copy a file in."""

    def pull(self, source: str, target: Path) -> None:
        """Copy a file out, to a place of our choosing."""

    def diagnose(self) -> str:
        """What can still be learnt of it, dying or dead: its console's last lines."""

    def stop(self) -> None:
        """End it; nothing of it is left. May be called at any time, and twice."""
