"""Which cells of a guest are asked in which boot, and which are asked again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.verdict import Result, Verdict


@dataclass
class Tries:
    """The cells of one guest that have no verdict yet, in the order in which they are asked.

    A cell that does not pass is asked again up to `retries` times, in a guest that has booted for
    it alone; so is every cell if it is to be `fresh`. What came before is told in its verdict.
    """

    waiting: list[Cell]
    retries: int = 0
    fresh: bool = False
    _before: dict[Cell, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    _alone: set[Cell] = field(default_factory=set)

    def batch(self) -> Sequence[Cell]:
        """Return the cells for the next boot; none if all are done."""
        first = self.waiting[:1]
        if self.fresh or self._alone.intersection(first):
            return first
        return [cell for cell in self.waiting if cell not in self._alone]

    def number(self, cell: Cell) -> int:
        """How many times a cell will have been asked, when it is asked now."""
        return len(self._before[cell]) + 1

    def take(self, cell: Cell, verdict: Verdict, *, ran: bool = True) -> Verdict | None:
        """Note what a cell came to; answer its final verdict, or None if it is asked again.

        One that never `ran`, since its guest did not boot, needs no guest of its own.
        """
        self.waiting.remove(cell)
        bad = verdict.result in (Result.FAIL, Result.ERROR)
        if not bad or verdict.blame is Blame.UNSUPPORTED or self.number(cell) > self.retries:
            return self._final(cell, verdict)
        self._before[cell].append(verdict)
        self.waiting.append(cell)
        if ran:
            self._alone.add(cell)
        return None

    def give_up(self) -> Iterator[Verdict]:
        """Answer for those that were to be asked again, and now will not: with their last try."""
        for cell in list(self.waiting):
            if self._before[cell]:
                self.waiting.remove(cell)
                verdict = self._before[cell].pop()
                note = "the run ended before it could be asked again"
                yield self._final(cell, replace(verdict, notes=(*verdict.notes, note)))

    def _final(self, cell: Cell, verdict: Verdict) -> Verdict:
        before = self._before.pop(cell, [])
        if not before:
            return verdict
        attempts = tuple(each.as_attempt() for each in before)
        told = "; ".join(f"{each.result}: {(each.findings or ('',))[0]}" for each in before)
        now = "flaky: passed" if verdict.result is Result.PASS else "not passed either"
        note = f"{now} at try {len(before) + 1}; before that {told}"
        return replace(verdict, attempts=attempts, notes=(*verdict.notes, note))
