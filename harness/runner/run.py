"""All cells of a run: grouped by guest, scheduled, run in parallel, counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.model import events, provenance
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.runner.guest_cells import CellGroup, Results, run_group
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


def run_cells(cells: Sequence[Cell], options: RunOptions, emit: Emit) -> RunSummary:
    """Run all cells, with one boot for all cells of a guest, and emit every event.

    Guests with cells that are compared with those of another guest run after all others, so that
    the verdict is the same however many guests run at once. Raises UsageError if the cell with which
    another is compared is missing.

    On KeyboardInterrupt all guests are stopped. Cells without a verdict are left out, and the
    summary says that the run was interrupted.
    """
    started = time.monotonic()
    check_references({cell.id: cell for cell in cells})
    emit(_run_started(cells, options))
    pool = GuestPool(options, emit)
    results = Results(emit, keep=frozenset(map(reference_of, cells)))
    interrupted = False

    def run(groups: Sequence[CellGroup]) -> None:
        jobs = [_job(group, options) for group in groups if group.cells]
        pool.run(jobs, lambda group, processor: run_group(group, processor, pool, results))

    groups = _groups(cells, options)
    compared = [group for group in groups if any(map(reference_of, group.cells))]
    try:
        run([group for group in groups if group not in compared])
        run([_compared(group, results) for group in compared])
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


def _groups(cells: Sequence[Cell], options: RunOptions) -> Sequence[CellGroup]:
    kinds = catalogue(options.builder, options.custom_kernels)
    groups: dict[tuple[str, Root], list[Cell]] = {}
    for cell in cells:
        root = options.subjects[cell.subject].root
        groups.setdefault((cell.guest, root), []).append(cell)
    return [
        CellGroup(find_guest(kinds, name, options.machines), root, each)
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


def _job(group: CellGroup, options: RunOptions) -> Job[CellGroup]:
    """Estimate how long a group takes, and how much memory its guest needs."""
    kind = group.kind
    memory = kind.memory
    if memory and needs_program_memory(group.cells, options.subjects):
        memory += PROGRAM_MEMORY
    # a first run consists of builds, and a build of downloads
    build = (options.builder.download_size(kind.images) >> 20) * BUILD_SECONDS
    return Job(group, build + kind.boot_seconds + kind.cell_seconds * len(group.cells), memory)
