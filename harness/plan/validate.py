"""Whether a plan makes sense as a whole: nothing in it is idle, or contradicts the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import schema
from foothold_lab.harness.plan.model import Pattern
from foothold_lab.harness.plan.planfile import PlanFile
from foothold_lab.harness.plan.toml_source import Place, Source


def check(plan: PlanFile, source: Source, *, complete: bool) -> None:
    """Raise UsageError for the first thing that makes no sense, with its place.

    `complete`: something has to be declared of every cell.
    """
    checks = _Checks(plan, source)
    plan.check_size()
    checks.excluded()
    checks.cells = [cell for cell in plan.cells() if cell.repeat == 1]
    checks.expected()
    checks.said()
    checks.required()
    if complete:
        checks.complete()


class _Checks:
    """One plan, held against its own cells."""

    def __init__(self, plan: PlanFile, source: Source) -> None:
        self._plan = plan
        self._source = source
        self.cells: Sequence[Cell] = ()

    def excluded(self) -> None:
        product = tuple(self._plan.axes)
        for n, pattern in enumerate(self._plan.exclude):
            if not any(self._matching(pattern, product)):
                self._complain(Place(schema.EXCLUDE, n), "it matches no cell of [axes]")
        if not self._plan.include and all(map(self._plan.excludes, product)):
            self._complain(Place(schema.EXCLUDE, 0), "no cell is left", "leave out less")

    def expected(self) -> None:
        """Each has to decide something: the first that matches counts."""
        first: dict[Cell, int] = {}
        for n, (pattern, _) in enumerate(self._plan.expect):
            place = Place(schema.EXPECT, n)
            matching = list(self._matching(pattern, self.cells))
            if not matching:
                self._complain(place, "it matches no cell of this plan")
            before = sorted({first.setdefault(cell, n) for cell in matching})
            if n not in before:
                others = ", ".join(self._named(Place(schema.EXPECT, each)) for each in before)
                self._complain(
                    place,
                    f"it decides nothing: of all its cells is spoken before, in {others}",
                    "leave it, or put what is more special first",
                )

    def said(self) -> None:
        for n, (pattern, _) in enumerate(self._plan.by_pattern):
            if not any(self._matching(pattern, self.cells)):
                self._complain(Place(schema.CELLS, n), "it matches no cell of this plan")

    def required(self) -> None:
        guests = {cell.guest for cell in self.cells}
        for guest in sorted(self._plan.require - guests):
            self._complain(
                Place(key="require"),
                f"{guest} is required, and has no cell in this plan",
                "add it to the guests, or leave it here",
            )

    def complete(self) -> None:
        if silent := [cell for cell in self.cells if not cell.expected]:
            more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
            self._complain(
                Place(key="complete"),
                f"nothing is declared of {silent[0].id}{more}",
                "add an [[expect]], or leave this to the oracle: complete = false",
            )

    def _matching(self, pattern: Pattern, cells: Iterable[Cell]) -> Iterable[Cell]:
        names = self._plan.known.names
        return (cell for cell in cells if pattern.matches(names(cell.guest), cell))

    def _named(self, place: Place) -> str:
        line = self._source.line(place)
        return f"{place} (line {line})" if line else str(place)

    def _complain(
        self, place: Place, what: str, remedy: str = "mend its pattern, or leave it out"
    ) -> None:
        raise self._source.wrong(place, UsageError(what, remedy))
