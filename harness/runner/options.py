"""How a run is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness.guests.catalogue import (
    NO_CUSTOM_KERNELS,
    NO_MACHINES,
)
from foothold_lab.harness.guests.custom_kernels import CustomKernels
from foothold_lab.harness.model.cells import ALLOCATOR, Cell
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.runner.retention import GuestRetention
from foothold_lab.harness.subjects import subject
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder

PROGRAM_MEMORY = 2048  # MiB of a guest for any program; a UML guest takes what is used of it
SMALL_WORKLOADS = frozenset({"", "none", "default", "hello"})  # 7 MiB of heap fit into any guest


def needs_program_memory(cells: Iterable[Cell], subjects: Mapping[str, Subject]) -> bool:
    """Return whether a guest for these cells needs PROGRAM_MEMORY: for a program, or for a workload
    that makes the allocator's heap large.
    """
    return any(
        not subjects[cell.subject].reports or cell.workload not in SMALL_WORKLOADS for cell in cells
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is done.

    directory: where the run keeps its evidence.
    machines: those that are reached by SSH and have a name of their own.
    jobs: guests that run at once, each pinned to a processor; 0: one for each usable processor.
    fresh: boot a guest for each cell.
    retries: how many times a cell that does not pass is run again.
    trace: record the system calls of subjects as the third witness.
    subjects: the programs under test, by the name that cells use.
    recorded_share: files of an earlier boot to give to the guest; None: the current files.
    retention: may keep guests after their cells have run.
    host_directory: a directory of the host that guests show, read-only.
    pull: container engines may download the images of guests that they do not have.
    memory: of a guest, in MiB; None: what its subjects need.
    require: guests that must be bootable on this machine.
    plan, command: name of the plan, and the command line, for the record.
    shard, other_cells: the part of the plan, and the cells of its other parts, for the record.
    """

    directory: Path
    builder: Builder
    custom_kernels: CustomKernels = NO_CUSTOM_KERNELS
    machines: Mapping[str, SshAddress] = field(default_factory=lambda: NO_MACHINES)
    jobs: int = 0
    fresh: bool = False
    retries: int = 0
    trace: bool = True
    subjects: Mapping[str, Subject] = field(default_factory=lambda: {ALLOCATOR: subject.ALLOCATOR})
    recorded_share: Path | None = None
    retention: GuestRetention | None = None
    host_directory: Path | None = None
    pull: bool = False
    memory: int | None = None
    require: frozenset[str] = frozenset()
    plan: str = ""
    command: tuple[str, ...] = ()
    shard: str = ""
    other_cells: tuple[Cell, ...] = ()

    @property
    def processors(self) -> list[int]:
        """The processors that guests are pinned to, one for each job."""
        usable = sorted(os.sched_getaffinity(0))
        count = self.jobs or len(usable)
        return [usable[i % len(usable)] for i in range(count)]
