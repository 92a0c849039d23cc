"""Which shards of a plan there are, and which of its cells have no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import CellFinished, RunStarted
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.plan.shards import Shard
from foothold_lab.harness.run_directory import read_events

# the cells that other cells are compared with run in every shard that needs them
_ORDER = (Result.PASS, Result.UNSUPPORTED, Result.ERROR, Result.FAIL)


@dataclass(frozen=True, kw_only=True)
class ShardRun:
    """The run of a shard, or of a whole plan: then `shard` is None. `verdicts` are those that it came
    to, by cell.
    """

    directory: Path
    started: RunStarted
    shard: Shard | None
    verdicts: dict[str, Verdict]

    @property
    def name(self) -> str:
        """The shard as `2/4`, or the name of the run if it is not a shard."""
        return self.started.shard or self.started.run


@dataclass(frozen=True, kw_only=True)
class MergedRun:
    """The runs in the order of their shards, and all cells of the plan.

    cells: in the order of the shards; those of missing shards at the end.
    missing: why a cell has no verdict, by cell.
    chosen: the run whose verdict on a cell counts, by cell.
    """

    runs: tuple[ShardRun, ...]
    cells: tuple[Cell, ...]
    missing: dict[str, str]
    chosen: dict[str, ShardRun]

    @property
    def plan(self) -> str:
        """The name of the plan."""
        return self.runs[0].started.plan


def read_shard(directory: Path) -> ShardRun:
    """Read the run of a shard. It may have been cut short. Raises UsageError."""
    started: RunStarted | None = None
    verdicts = {}
    for event in read_events(directory):
        if isinstance(event, RunStarted):
            started = event
        elif isinstance(event, CellFinished):
            verdicts[event.cell] = event.verdict
    assert started
    shard = Shard.parse(started.shard) if started.shard else None
    return ShardRun(directory=directory, started=started, shard=shard, verdicts=verdicts)


def combine(runs: Sequence[ShardRun]) -> MergedRun:
    """Check that runs belong together, and find what is missing. Raises UsageError."""
    _check_same(runs)
    runs = sorted(runs, key=lambda run: run.shard.number if run.shard else 0)
    begun = {cell.id: (cell, run) for run in runs for cell in run.started.cells}
    cells = {name: cell for name, (cell, _) in begun.items()}
    for run in runs:
        for cell in run.started.other_cells:
            cells.setdefault(cell.id, cell)
    chosen: dict[str, ShardRun] = {}
    for run in runs:
        for name, verdict in run.verdicts.items():
            before = chosen.get(name)
            if not before or _worse(verdict, before.verdicts[name]):
                chosen[name] = run
    absent = f"it is a cell of a shard that is not here: {', '.join(_absent_shards(runs))}"
    missing = {
        name: f"the run {begun[name][1].name} ended before this cell had a verdict"
        if name in begun
        else absent
        for name in cells
        if name not in chosen
    }
    return MergedRun(runs=tuple(runs), cells=tuple(cells.values()), missing=missing, chosen=chosen)


def _check_same(runs: Sequence[ShardRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.started.plan != first.started.plan:
            raise UsageError(
                f"{run.directory} is a run of the plan {run.started.plan!r}, and {first.directory} "
                f"one of {first.started.plan!r}",
                "merge runs of one plan",
            )
        if _count(run) != _count(first):
            raise UsageError(
                f"{run.directory} is {_describe(run)}, and {first.directory} is {_describe(first)}",
                "merge shards of the same number of shards",
            )
        shared = first.started.subjects.keys() & run.started.subjects.keys()
        for name in sorted(shared):
            if first.started.subjects[name] != run.started.subjects[name]:
                raise UsageError(
                    f"{name} is another program in {run.directory} than in {first.directory}",
                    "merge runs of the same programs",
                )
    _check_twice(runs)


def _check_twice(runs: Iterable[ShardRun]) -> None:
    owner: dict[str, ShardRun] = {}
    for run in runs:
        # shards share the cells that others are compared with; other runs share nothing
        names = [run.started.shard] if run.started.shard else [c.id for c in run.started.cells]
        for name in names:
            before = owner.setdefault(name, run)
            if before is not run:
                what = f"shard {name}" if run.started.shard else f"the cell {name}"
                raise UsageError(
                    f"{what} is in {before.directory} and in {run.directory}",
                    "leave one of them out",
                )


def _count(run: ShardRun) -> int:
    """Return the number of shards that the plan was divided into, 0 if it was not."""
    return run.shard.count if run.shard else 0


def _describe(run: ShardRun) -> str:
    return f"shard {run.started.shard}" if run.started.shard else "not a shard"


def _worse(verdict: Verdict, other: Verdict) -> bool:
    return _ORDER.index(verdict.result) > _ORDER.index(other.result)


def _absent_shards(runs: Sequence[ShardRun]) -> list[str]:
    there = {run.shard.number for run in runs if run.shard}
    count = _count(runs[0])
    return [str(Shard(n, count)) for n in range(1, count + 1) if n not in there]
