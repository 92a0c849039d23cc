"""The verdicts on a program, compared with those on the program before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.verdict import Result, Verdict


@dataclass
class Answers:
    """The verdicts of this round, and the last ones of the rounds before it, by cell."""

    cells: Sequence[Cell] = ()
    now: dict[str, Verdict] = field(default_factory=dict)
    before: dict[str, Verdict] = field(default_factory=dict)

    def begin(self, cells: Sequence[Cell]) -> None:
        """Begin a round. Verdicts of one that was given up count as those of the round before."""
        self.cells = cells
        self.before = {**self.before, **self.now}
        self.now = {}

    def add(self, verdict: Verdict) -> None:
        """Add a verdict of this round."""
        self.now[verdict.cell] = verdict

    def earlier(self, verdict: Verdict) -> Verdict | None:
        """Return the verdict before this one if it differs; None for the same, and for the first."""
        before = self.before.get(verdict.cell)
        return before if before and _essence(before) != _essence(verdict) else None

    @property
    def changed(self) -> list[Verdict]:
        """The verdicts of this round that differ from those before, in the order of the cells."""
        found = (self.now.get(cell.id) for cell in self.cells)
        return [each for each in found if each and self.earlier(each)]

    @property
    def counts(self) -> Counter[Result]:
        """The number of verdicts of this round by result."""
        return Counter(each.result for each in self.now.values())


def _essence(verdict: Verdict) -> tuple[object, ...]:
    """Return what of a verdict does not vary from one start of a program to the next."""
    codes = tuple(each.code for each in verdict.findings)
    seen = verdict.observed
    if seen is None:
        return (verdict.result, codes)
    return (verdict.result, codes, seen.path, seen.outcome, seen.status, seen.signal)
