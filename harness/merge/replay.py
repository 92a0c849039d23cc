"""The events and the evidence of a merged run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec

from foothold_lab.harness.merge.shards import MergedRun, ShardRun
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, InfrastructureError
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    CellRetried,
    CellStarted,
    Emit,
    GuestBooting,
    GuestFailed,
    GuestReady,
    GuestStopped,
    Progress,
    RunFinished,
    RunStarted,
)
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.verdict import Attempt, Result, Verdict
from foothold_lab.harness.run_directory import RunFiles, read_events

Judged = TypeVar("Judged", Verdict, Attempt)

_REMEDY = "see the job of that shard: it failed, was cancelled, or did not upload its run directory"


@dataclass(frozen=True, kw_only=True)
class MergeSummary:
    """The number of cells by result, and of those that have no verdict."""

    counts: dict[str, int]
    missing: int


def merge(merged: MergedRun, directory: Path, command: tuple[str, ...], emit: Emit) -> MergeSummary:
    """Copy the evidence of the runs into `directory`, and emit the events of one run.

    A cell without a verdict is in error. `command` is the command line, for the record. Raises
    InfrastructureError if evidence cannot be copied.
    """
    emit(_run_started(merged, directory, command))
    counts: Counter[str] = Counter()
    seconds = 0.0
    for run in merged.runs:
        mover = _Mover(run, directory)
        mover.copy_evidence(merged)
        for event in read_events(run.directory):
            if isinstance(event, RunFinished):
                seconds = max(seconds, event.seconds)
            elif not isinstance(event, RunStarted | Progress) and _counts(merged, run, event):
                emit(mover.moved(event))
                if isinstance(event, CellFinished):
                    counts[event.verdict.result] += 1
    for verdict in _missing_verdicts(merged):
        emit(CellFinished(cell=verdict.cell, verdict=verdict))
        counts[verdict.result] += 1
    emit(RunFinished(seconds=seconds, counts=dict(counts)))
    return MergeSummary(counts=dict(counts), missing=len(merged.missing))


def _run_started(merged: MergedRun, directory: Path, command: tuple[str, ...]) -> RunStarted:
    starts = [run.started for run in merged.runs]
    return RunStarted(
        at=min(each.at for each in starts),
        run=directory.name,
        plan=merged.plan,
        directory=str(directory),
        command=command,
        cells=merged.cells,
        provenance=starts[0].provenance,
        subjects={name: value for each in starts for name, value in each.subjects.items()},
        trace=all(each.trace for each in starts),
    )


def _counts(merged: MergedRun, run: ShardRun, event: AnyEvent) -> bool:
    """Is the event one of a guest, or of a cell whose verdict is taken from this run?"""
    if isinstance(event, CellStarted | CellRetried | CellFinished):
        return merged.chosen.get(event.cell) is run
    return True


def _missing_verdicts(merged: MergedRun) -> Iterator[Verdict]:
    for cell in merged.cells:
        if reason := merged.missing.get(cell.id):
            yield _missing_verdict(cell, reason)


def _missing_verdict(cell: Cell, reason: str) -> Verdict:
    return Verdict(
        cell=cell.id,
        result=Result.ERROR,
        seconds=0.0,
        expected=cell.expected,
        findings=(Finding(Code.INFRASTRUCTURE_MISSING, reason),),
        blame=Blame.INFRASTRUCTURE,
        remedy=_REMEDY,
        command=cell.command,
    )


class _Mover:
    """Moves one run into the merged one. Its boots get names that no other run has."""

    def __init__(self, run: ShardRun, directory: Path) -> None:
        self._run = run
        self._directory = directory
        self._suffix = f".{run.name.replace('/', '-of-')}"

    def copy_evidence(self, merged: MergedRun) -> None:
        """Copy what the guests and the cells of the run left. Raises InfrastructureError."""
        files = RunFiles(self._run.directory)
        boots = files.names("guests") if files.is_directory("guests") else []
        names = {f"guests/{boot}": f"guests/{boot}{self._suffix}" for boot in boots}
        names |= {
            f"cells/{cell}": f"cells/{cell}"
            for cell, chosen in merged.chosen.items()
            if chosen is self._run
        }
        for source, target in names.items():
            if not files.is_directory(source):
                continue
            try:
                files.beneath(source).copy_tree(self._directory / target)
            except OSError as error:
                raise InfrastructureError(
                    f"the evidence of {self._run.directory} cannot be copied: {error}",
                    "make space, or give --run-dir another directory",
                    code=Code.INFRASTRUCTURE_OUTPUT,
                ) from error

    def moved(self, event: AnyEvent) -> AnyEvent:
        """Return the event with the names that the merged run has."""
        match event:
            case GuestBooting() | GuestReady() | GuestFailed() | GuestStopped():
                boot = event.boot or event.guest
                return msgspec.structs.replace(event, boot=f"{boot}{self._suffix}")
            case CellRetried():
                return msgspec.structs.replace(
                    event, boot=self._boot(event.boot), attempt=self._moved(event.attempt)
                )
            case CellFinished():
                verdict = self._moved(event.verdict)
                attempts = tuple(map(self._moved, verdict.attempts))
                return msgspec.structs.replace(
                    event, boot=self._boot(event.boot), verdict=replace(verdict, attempts=attempts)
                )
        return event

    def _boot(self, name: str) -> str:
        return f"{name}{self._suffix}" if name else ""

    def _moved(self, one: Judged) -> Judged:
        """Return a verdict or an attempt with the new place of its evidence."""
        path, before = PurePosixPath(one.artefacts), self._run.started.directory
        if not one.artefacts or not path.is_relative_to(before):
            return one
        return replace(one, artefacts=str(self._directory / path.relative_to(before)))
