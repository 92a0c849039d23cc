"""The results of each cell, run by run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import Run, StoredCell
from foothold_lab.harness.results_db.reader import StoredRun
from foothold_lab.harness.results_db.timing_stats import TypicalTime, typical_time

NOT_RUN = "not-run"
_BADNESS = (NOT_RUN, Result.UNSUPPORTED, Result.PASS, Result.ERROR, Result.FAIL)


@dataclass(frozen=True)
class Span:
    """A result in `length` successive runs."""

    result: str
    length: int


@dataclass(frozen=True, kw_only=True)
class CellLine:
    """A cell: its verdict in the newest run that has it, and what each run found, the oldest first.

    paths: the path and the outcome in a few words, empty if nothing was observed.
    seconds: how long the cell took, None if it did not run.
    is_current: the newest run has it.
    """

    cell: StoredCell
    run: Run
    results: tuple[str, ...]
    paths: tuple[str, ...]
    seconds: tuple[float | None, ...]
    is_current: bool

    @property
    def spans(self) -> tuple[Span, ...]:
        """The results, those of successive runs together."""
        return spans(self.results)

    @property
    def path_spans(self) -> tuple[Span, ...]:
        """The paths, those of successive runs together."""
        return spans(self.paths)

    @property
    def typical(self) -> TypicalTime | None:
        """The typical duration in the runs before the newest one that has it; None if they are few."""
        earlier = [each for each in self.seconds if each is not None][:-1]
        return typical_time(earlier[::-1])

    @property
    def is_slow(self) -> bool:
        """Was its newest verdict slower than noise explains?"""
        known, seconds = self.typical, self.cell.seconds
        return bool(known and seconds and seconds > known.longest)


@dataclass(frozen=True, kw_only=True)
class PlanHistory:
    """The newest runs of a plan, the oldest first, and the lines of their cells."""

    plan: str
    stored: tuple[StoredRun, ...]
    lines: tuple[CellLine, ...]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs without their cells."""
        return tuple(each.run for each in self.stored)

    @property
    def newest(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @cached_property
    def guests(self) -> dict[str, list[CellLine]]:
        """The lines of each guest, in the order of the newest run."""
        found: dict[str, list[CellLine]] = {}
        for line in self.lines:
            found.setdefault(line.cell.guest, []).append(line)
        return found

    def guest_spans(self, guest: str) -> tuple[Span, ...]:
        """The worst result of a guest's cells in each run."""
        columns = zip(*(line.results for line in self.guests[guest]), strict=True)
        return spans(max(column, key=_BADNESS.index) for column in columns)


def spans(results: Iterable[str]) -> tuple[Span, ...]:
    """Put equal results of successive runs together."""
    return tuple(Span(result, len(list(group))) for result, group in groupby(results))


def read_plans(database: Database, plans: Collection[str], count: int) -> Iterator[PlanHistory]:
    """Yield the history of each plan, or of those that are named: their `count` newest runs."""
    for row in database.rows("SELECT plan FROM runs GROUP BY plan ORDER BY max(started) DESC"):
        if not plans or row["plan"] in plans:
            newest = reader.runs(database, row["plan"], count)
            yield plan_history([reader.find(database, run.name) for run in reversed(newest)])


def plan_history(runs: Sequence[StoredRun]) -> PlanHistory:
    """Return the history of a plan from its newest runs, the oldest first."""
    newest: dict[str, tuple[StoredCell, int]] = {}
    found: dict[str, dict[int, StoredCell]] = defaultdict(dict)
    for place, run in reversed(list(enumerate(runs))):
        for cell in run.cells:
            newest.setdefault(cell.name, (cell, place))
            found[cell.name][place] = cell
    lines = tuple(
        _line(cell, runs[place].run, found[name], len(runs), is_current=place == len(runs) - 1)
        for name, (cell, place) in newest.items()
    )
    return PlanHistory(plan=runs[0].run.plan, stored=tuple(runs), lines=lines)


def _line(
    cell: StoredCell, run: Run, found: Mapping[int, StoredCell], count: int, *, is_current: bool
) -> CellLine:
    places = [found.get(place) for place in range(count)]
    return CellLine(
        cell=cell,
        run=run,
        results=tuple((each and each.result) or NOT_RUN for each in places),
        paths=tuple(_path(each) if each else "" for each in places),
        seconds=tuple(each.seconds if each and _has_time(each) else None for each in places),
        is_current=is_current,
    )


def _path(cell: StoredCell) -> str:
    return cell.summary if cell.path or cell.outcome else ""


def _has_time(cell: StoredCell) -> bool:
    return cell.result in (Result.PASS, Result.FAIL)
