"""The state of a run, collected from its events, for reporters that write at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    GuestBooting,
    GuestFailed,
    GuestReady,
    RunFinished,
    RunStarted,
)
from foothold_lab.harness.model.verdict import Result, Verdict

_PASSED = Verdict(cell="", result=Result.PASS, seconds=0.0)


@dataclass
class GuestResult:
    """The state of a guest. If it booted several times, of its last boot."""

    argv: tuple[str, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    ready: GuestReady | None = None
    failed: GuestFailed | None = None


@dataclass
class RunResult:
    """The state of a run. A cell without a verdict has not run."""

    started: RunStarted | None = None
    finished: RunFinished | None = None
    guests: dict[str, GuestResult] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    _cells: dict[str, list[Cell]] = field(default_factory=dict)
    _done: Counter[str] = field(default_factory=Counter)

    def __call__(self, event: AnyEvent) -> None:
        """Process an event."""
        if isinstance(event, RunStarted):
            self.started = event
            self._cells.clear()
            self._done = Counter(map(Cell.guest_of, self.verdicts))
            for cell in event.cells:
                self.guests.setdefault(cell.guest, GuestResult())
                self._cells.setdefault(cell.guest, []).append(cell)
        elif isinstance(event, RunFinished):
            self.finished = event
        elif isinstance(event, CellFinished):
            if event.cell not in self.verdicts:
                self._done[Cell.guest_of(event.cell)] += 1
            self.verdicts[event.cell] = event.verdict
        elif isinstance(event, GuestBooting):
            self.guests.setdefault(event.guest, GuestResult()).images = event.images
        elif isinstance(event, GuestReady):
            guest = self.guests.setdefault(event.guest, GuestResult())
            guest.ready, guest.argv = event, event.argv
        elif isinstance(event, GuestFailed):
            self.guests.setdefault(event.guest, GuestResult()).failed = event

    def shorten(self, cell: str) -> None:
        """Keep of a verdict only that the cell passed, if it did so at once: of 100,000 cells the
        verdicts would fill the memory.
        """
        verdict = self.verdicts[cell]
        if verdict.result is Result.PASS and not verdict.attempts:
            self.verdicts[cell] = _PASSED

    def forget(self, guest: str) -> None:
        """Keep of a guest only that it is one of the run."""
        self.guests[guest] = GuestResult()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells of the run, in the order of the plan."""
        return self.started.cells if self.started else ()

    def cells_of(self, guest: str) -> Sequence[Cell]:
        """Return the cells of one guest."""
        return self._cells.get(guest, ())

    def done(self, guest: str) -> int:
        """Return how many cells of a guest have verdicts."""
        return self._done[guest]

    def is_done(self, guest: str) -> bool:
        """Has every cell of the guest a verdict?"""
        return self.done(guest) == len(self.cells_of(guest))

    def with_result(self, *wanted: Result) -> Iterator[Verdict]:
        """Yield the verdicts with one of these results, in the order of the plan."""
        for cell in self.cells:
            verdict = self.verdicts.get(cell.id)
            if verdict and verdict.result in wanted:
                yield verdict

    @property
    def flaky(self) -> list[Verdict]:
        """Verdicts of cells that passed only when they were retried."""
        return [verdict for verdict in self.with_result(Result.PASS) if verdict.flaky]

    @property
    def counts(self) -> dict[str, int]:
        """The number of cells by result. Cells without a verdict count as `not-run`."""
        counts = {
            each.value: sum(1 for verdict in self.verdicts.values() if verdict.result is each)
            for each in Result
        }
        return counts | {"not-run": len(self.cells) - len(self.verdicts)}

    @property
    def headline(self) -> str:
        """The result of the run in one sentence."""
        counts, total = self.counts, len(self.cells)
        bad = counts["fail"] + counts["error"]
        answered = total - counts["unsupported"] - counts["not-run"]
        if bad:
            return f"{bad} of {answered} cells {'is' if bad == 1 else 'are'} not as expected"
        if not answered:
            return "No cell has an answer" if total else "There was no cell to run"
        again = f", {len(self.flaky)} of them not at once" if self.flaky else ""
        if answered == 1:
            return f"The cell is as expected{', but not at once' if again else ''}"
        return f"{'All ' if answered == total else ''}{answered} cells are as expected{again}"

    def grouped(self, *wanted: Result) -> list[list[Verdict]]:
        """Return groups of verdicts with one of these results. A group has one guest and the same findings,
        so that a guest that does not boot is reported once.
        """
        guests = {cell.id: cell.guest for cell in self.cells}
        groups: dict[tuple[object, ...], list[Verdict]] = {}
        for verdict in self.with_result(*wanted):
            same = (guests[verdict.cell], verdict.result, verdict.findings)
            groups.setdefault(same, []).append(verdict)
        return list(groups.values())
