"""All cells of a run: grouped by guest, scheduled, run in parallel, counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.model import events, provenance
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.runner.guest_cells import CellGroup, Results, measure_group, run_group
from foothold_lab.harness.runner.guest_pool import GuestPool
from foothold_lab.harness.runner.options import PROGRAM_MEMORY, RunOptions, needs_program_memory
from foothold_lab.harness.runner.references import check_references, compared_with, reference_of
from foothold_lab.harness.runner.schedule import Job
from foothold_lab.harness.subjects.subject import Root

BUILD_SECONDS = 0.2  # for each MiB of packages that an image is built of (measured)


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The outcome of a run.

    counts: cells by result. blames: who is responsible for the cells without an observation.
    required_missing: required guests that this machine cannot boot.
    """

    counts: dict[str, int]
    interrupted: bool = False
    blames: frozenset[Blame] = frozenset()
    required_missing: tuple[str, ...] = ()


class Workforce(Protocol):
    """Runs groups of cells: the processors of this machine, or the workers of a cluster."""

    def run(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Run groups to the verdicts of all their cells. Stops all guests on KeyboardInterrupt."""


class LocalWorkforce:
    """The processors of this machine."""

    def __init__(self, options: RunOptions, emit: Emit) -> None:
        self._options = options
        self._pool = GuestPool(options, emit)

    def run(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Run groups side by side, each on a processor of its own."""
        self._pool.run(
            self._jobs(groups),
            lambda group, processor: run_group(group, processor, self._pool, results),
        )

    def measure(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Boot the guests of groups side by side, each on a processor of its own."""
        self._pool.run(
            self._jobs(groups),
            lambda group, processor: measure_group(group, processor, self._pool, results),
        )

    def _jobs(self, groups: Sequence[CellGroup]) -> Sequence[Job[CellGroup]]:
        return [estimate(group, self._options) for group in groups]


def run_cells(
    cells: Sequence[Cell], options: RunOptions, emit: Emit, workforce: Workforce | None = None
) -> RunSummary:
    """Run all cells, with one boot for all cells of a guest, and emit every event.

    They run on the processors of this machine, if no other workforce is given.

    Guests with cells that are compared with those of another guest run after all others, so that
    the verdict is the same however many guests run at once. Raises UsageError if the cell with which
    another is compared is missing.

    On KeyboardInterrupt all guests are stopped. Cells without a verdict are left out, and the
    summary says that the run was interrupted.
    """
    started = time.monotonic()
    check_references({cell.id: cell for cell in cells})
    emit(_run_started(cells, options))
    workforce = workforce or LocalWorkforce(options, emit)
    results = Results(emit, keep=frozenset(map(reference_of, cells)))
    interrupted = False
    groups = group_cells(cells, options)
    compared = [group for group in groups if any(map(reference_of, group.cells))]
    try:
        workforce.run([group for group in groups if group not in compared], results)
        judged = [_compared(group, results) for group in compared]
        workforce.run([group for group in judged if group.cells], results)
    except KeyboardInterrupt:
        interrupted = True
    summary = RunSummary(
        counts=dict(results.counts),
        interrupted=interrupted,
        blames=frozenset(results.blames),
        required_missing=tuple(results.missing),
    )
    seconds = time.monotonic() - started
    emit(events.RunFinished(seconds=seconds, counts=summary.counts, interrupted=interrupted))
    return summary


def _run_started(cells: Sequence[Cell], options: RunOptions) -> events.RunStarted:
    names = sorted({cell.subject for cell in cells})
    return events.RunStarted(
        run=options.directory.name,
        plan=options.plan,
        directory=str(options.directory),
        command=options.command,
        cells=tuple(cells),
        provenance=provenance.here(),
        trace=options.trace,
        shard=options.shard,
        other_cells=options.other_cells,
        subjects={name: subjects.digest(options.subjects[name]) for name in names},
    )


def group_cells(cells: Sequence[Cell], options: RunOptions) -> Sequence[CellGroup]:
    """Group cells by guest and root file system: those of a group share its boots."""
    kinds = catalogue(options.builder, options.custom_kernels)
    groups: dict[tuple[str, Root], list[Cell]] = {}
    for cell in cells:
        root = options.subjects[cell.subject].root
        groups.setdefault((cell.guest, root), []).append(cell)
    return [
        CellGroup(
            kind=find_guest(kinds, name, options.machines),
            root=root,
            cells=each,
            large=needs_program_memory(each, options.subjects),
        )
        for (name, root), each in groups.items()
    ]


def _compared(group: CellGroup, results: Results) -> CellGroup:
    """Return a group whose cells expect what their references did, and add the verdicts of those
    that have none.
    """
    cells = []
    for cell in group.cells:
        name = reference_of(cell)
        made = compared_with(cell, results.kept[name]) if name else cell
        if isinstance(made, Verdict):
            results.add(made)
        else:
            cells.append(made)
    return replace(group, cells=cells)


def estimate(group: CellGroup, options: RunOptions) -> Job[CellGroup]:
    """Estimate how long a group takes, and how much memory its guest needs."""
    kind = group.kind
    memory = kind.memory
    if memory and group.large:
        memory += PROGRAM_MEMORY
    # a first run consists of builds, and a build of downloads
    build = (options.builder.download_size(kind.images) >> 20) * BUILD_SECONDS
    return Job(group, build + kind.boot_seconds + kind.cell_seconds * len(group.cells), memory)
