"""Checks of a plan as a whole: rules without effect, and cells without an expectation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import schema
from foothold_lab.harness.plan.model import Pattern
from foothold_lab.harness.plan.planfile import PlanFile
from foothold_lab.harness.plan.references import with_references
from foothold_lab.harness.plan.toml_source import Place, Source


def validate_plan(plan: PlanFile, source: Source, *, require_expectations: bool) -> None:
    """Raise UsageError for the first rule that makes no sense, with its place.

    With `require_expectations`, every cell needs an expectation.
    """
    validator = _Validator(plan, source)
    plan.check_size()
    validator.check_excludes()
    validator.cells = [cell for cell in plan.cells() if cell.repeat == 1]
    validator.check_references()
    validator.check_expectations()
    validator.check_overrides()
    validator.check_required_guests()
    if require_expectations:
        validator.check_completeness()


class _Validator:
    """Compares the rules of a plan with its cells."""

    def __init__(self, plan: PlanFile, source: Source) -> None:
        self._plan = plan
        self._source = source
        self.cells: Sequence[Cell] = ()

    def check_excludes(self) -> None:
        product = tuple(self._plan.axes)
        for n, pattern in enumerate(self._plan.exclude):
            if not any(self._matching(pattern, product)):
                self._fail(Place(section=schema.EXCLUDE, which=n), "it matches no cell of [axes]")
        if not self._plan.include and all(map(self._plan.excludes, product)):
            self._fail(
                Place(section=schema.EXCLUDE, which=0), "no cell is left", "exclude fewer cells"
            )

    def check_expectations(self) -> None:
        """Fail for an `[[expect]]` that is never the first to match a cell."""
        first: dict[Cell, int] = {}
        for n, (pattern, _) in enumerate(self._plan.expect):
            place = Place(section=schema.EXPECT, which=n)
            matching = list(self._matching(pattern, self.cells))
            if not matching:
                self._fail(place, "it matches no cell of this plan")
            earlier = sorted({first.setdefault(cell, n) for cell in matching})
            if n not in earlier:
                others = ", ".join(
                    self._describe(Place(section=schema.EXPECT, which=each)) for each in earlier
                )
                self._fail(
                    place,
                    f"it has no effect: all its cells match an earlier one: {others}",
                    "remove it, or put the more special one first",
                )

    def check_references(self) -> None:
        try:
            with_references(self.cells)
        except UsageError as error:
            raise self._source.error_at(Place(), error) from error

    def check_overrides(self) -> None:
        for n, (pattern, _) in enumerate(self._plan.overrides):
            if not any(self._matching(pattern, self.cells)):
                self._fail(
                    Place(section=schema.OVERRIDE, which=n), "it matches no cell of this plan"
                )

    def check_required_guests(self) -> None:
        guests = {cell.guest for cell in self.cells}
        for guest in sorted(self._plan.require - guests):
            self._fail(
                Place(key="require"),
                f"{guest} is required, but has no cell in this plan",
                "add it to the guests, or remove it here",
            )

    def check_completeness(self) -> None:
        if missing := [cell for cell in self.cells if not cell.expected]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            self._fail(
                Place(key="require_expectations"),
                f"no expectation for {missing[0].id}{more}",
                "add an [[expect]], or set require_expectations = false",
            )

    def _matching(self, pattern: Pattern, cells: Iterable[Cell]) -> Iterable[Cell]:
        names_of = self._plan.vocabulary.names_of
        return (cell for cell in cells if pattern.matches(names_of(cell.guest), cell))

    def _describe(self, place: Place) -> str:
        line = self._source.line_of(place)
        return f"{place} (line {line})" if line else str(place)

    def _fail(
        self, place: Place, problem: str, remedy: str = "correct its pattern, or remove it"
    ) -> None:
        raise self._source.error_at(place, UsageError(problem, remedy))
