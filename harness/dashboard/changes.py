"""What a run changed against the run of its plan before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from foothold_lab.harness.dashboard.timelines import PlanHistory
from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.results_db.compare import Change, Comparison, Difference, compare_runs
from foothold_lab.harness.results_db.models import Run


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A changed program, kernel or package; without `guests`, one of the whole run."""

    what: str
    before: str
    now: str
    guests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.now}"


@dataclass(frozen=True, kw_only=True)
class RunChanges:
    """A run, and its differences from the run before it."""

    run: Run
    comparison: Comparison

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells with a new finding."""
        return tuple(each.cell for each in self.comparison.new_failures)

    @property
    def other_paths(self) -> tuple[Change, ...]:
        """The cells that take another path, and neither failed nor were repaired."""
        shown = {each.cell for each in (*self.comparison.new_failures, *self.comparison.repaired)}
        return tuple(each for each in self.comparison.changed_paths if each.cell not in shown)

    @property
    def causes(self) -> list[Cause]:
        """What the results may be due to, with the guests in which it changed."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for each in self.inputs:
            found.setdefault((each.what, each.before, each.now), []).append(each.guest)
        return [
            Cause(what=what, before=before, now=now, guests=tuple(filter(None, guests)))
            for (what, before, now), guests in found.items()
        ]

    def causes_of(self, cell: str) -> list[Cause]:
        """Return what changed in the guest of a cell, or in all guests."""
        return [
            each
            for each in self.causes
            if not each.guests or any(cell.startswith(f"{guest}/") for guest in each.guests)
        ]

    @property
    def inputs(self) -> tuple[Difference, ...]:
        """What the results may be due to: programs, versions, kernels, images."""
        return (*self.comparison.changed_inputs, *self.comparison.changed_kernels)


@dataclass(frozen=True, kw_only=True)
class NewFinding:
    """A cell that failed, or was in error, for the first time. `at` is in seconds since the epoch."""

    run: str
    plan: str
    at: float
    cell: str
    before: str
    now: str
    finding: Finding | None


def changes_of(history: PlanHistory, count: int) -> list[RunChanges]:
    """Return the changes of the `count` newest runs, the newest first. A run without differences in
    results and inputs is left out, and so is the oldest run.
    """
    pairs = list(pairwise(history.stored))[-count:]
    found = [
        RunChanges(run=now.run, comparison=compare_runs(before, now, {})) for before, now in pairs
    ]
    return [each for each in reversed(found) if _tells_something(each)]


def _tells_something(changes: RunChanges) -> bool:
    found = changes.comparison
    results = (found.new_failures, found.repaired, found.changed_paths, found.lost_answers)
    return any(results) or bool(changes.inputs or found.broken_probes or found.repaired_probes)


def new_findings(changes: RunChanges) -> Iterator[NewFinding]:
    """Yield what failed for the first time in a run."""
    for each in changes.comparison.new_failures:
        yield NewFinding(
            run=changes.run.name,
            plan=changes.run.plan,
            at=changes.run.started,
            cell=each.cell,
            before=each.before,
            now=each.now,
            finding=each.finding,
        )
