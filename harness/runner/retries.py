"""Which cells of a guest run in which boot, and which cells run again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.verdict import Result, Verdict


@dataclass
class RetryQueue:
    """The cells of one guest that have no final verdict yet, in the order in which they run.

    A cell that does not pass runs again up to `retries` times, each time in a boot of its own. With
    `fresh`, every cell has a boot of its own. The final verdict lists the earlier attempts.
    """

    waiting: list[Cell]
    retries: int = 0
    fresh: bool = False
    _earlier: dict[Cell, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    _alone: set[Cell] = field(default_factory=set)

    def next_batch(self) -> Sequence[Cell]:
        """Return the cells for the next boot; empty if all cells are done."""
        first = self.waiting[:1]
        if self.fresh or self._alone.intersection(first):
            return first
        return [cell for cell in self.waiting if cell not in self._alone]

    def attempt(self, cell: Cell) -> int:
        """Return the number of the next attempt of a cell, from 1."""
        return len(self._earlier[cell]) + 1

    def record(self, cell: Cell, verdict: Verdict, *, booted: bool = True) -> Verdict | None:
        """Record an attempt; return the final verdict, or None if the cell runs again.

        A cell whose guest has not `booted` needs no boot of its own for the next attempt.
        """
        self.waiting.remove(cell)
        bad = verdict.result in (Result.FAIL, Result.ERROR)
        if not bad or verdict.blame is Blame.UNSUPPORTED or self.attempt(cell) > self.retries:
            return self._final(cell, verdict)
        self._earlier[cell].append(verdict)
        self.waiting.append(cell)
        if booted:
            self._alone.add(cell)
        return None

    def abandon(self) -> Iterator[Verdict]:
        """Give up the cells that wait for another attempt: their last attempt is their verdict."""
        for cell in list(self.waiting):
            if self._earlier[cell]:
                self.waiting.remove(cell)
                verdict = self._earlier[cell].pop()
                note = "the run ended before the next attempt"
                yield self._final(cell, replace(verdict, notes=(*verdict.notes, note)))

    def _final(self, cell: Cell, verdict: Verdict) -> Verdict:
        earlier = self._earlier.pop(cell, [])
        if not earlier:
            return verdict
        attempts = tuple(each.as_attempt() for each in earlier)
        history = "; ".join(_short(each) for each in earlier)
        now = "flaky: passed" if verdict.result is Result.PASS else "not passed"
        note = f"{now} at try {len(earlier) + 1}; earlier: {history}"
        return replace(verdict, attempts=attempts, notes=(*verdict.notes, note))


def _short(verdict: Verdict) -> str:
    return f"{verdict.result}: {verdict.findings[0].text if verdict.findings else ''}"
