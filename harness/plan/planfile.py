"""A plan as a whole, and how it becomes cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from foothold_lab.harness.model.cells import ALLOCATOR, Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.harness.plan.builtin import called
from foothold_lab.harness.plan.model import STARTS, Axes, CellSettings, Pattern, Program
from foothold_lab.harness.plan.vocabulary import Known, unknown

LARGEST = 100_000  # cells; more is a slip of the pen


@dataclass(frozen=True)
class Selection:
    """Which cells of a plan are asked for, and what is said of them instead of what it says.

    Lists of `axes` that are not empty replace those of the plan; of what is included, that which
    is in them is left. `tags`: cells with one of these. `ways` has no tags; `expect` is declared
    of all.
    """

    axes: Axes = field(default_factory=Axes)
    tags: tuple[str, ...] = ()
    ways: CellSettings = field(default_factory=CellSettings)
    expect: Expectation | None = None


ALL = Selection()


@dataclass(frozen=True)
class PlanFile:
    """A plan that makes sense. `require` holds canonical names of guests, `known` also the names
    of its programs.
    """

    source: Path
    name: str
    description: str
    axes: Axes
    exclude: tuple[Pattern, ...]
    include: tuple[Axes, ...]
    expect: tuple[tuple[Pattern, Expectation], ...]
    require: frozenset[str]
    programs: Mapping[str, Program]
    ways: CellSettings
    by_pattern: tuple[tuple[Pattern, CellSettings], ...]
    jobs: int | None
    fresh: bool
    retries: int
    known: Known = field(repr=False)

    def with_program(self, program: Program) -> PlanFile:
        """Return the same plan, which knows one subject more. Raises UsageError for its name."""
        known = self.known.with_subject(program.name, program.program)
        return replace(self, known=known, programs={**self.programs, program.name: program})

    def cells(self, asked: Selection = ALL) -> tuple[Cell, ...]:
        """Return the plan's cells in its order, each once, or those that are asked for.

        Raises UsageError if no cell remains, or too many do.
        """
        axes = asked.axes.instead_of(self.axes)
        if (asked.axes.policies or asked.axes.workloads) and ALLOCATOR not in axes.subjects:
            raise UsageError(
                f"{', '.join(axes.subjects)}: only the allocator has policies and workloads",
                f"leave those, or add the subject {ALLOCATOR}",
            )
        replace(self, axes=axes).check_size()
        planned = [each for each in axes if not self.excludes(each)]
        planned += (each for more in self.include for each in more if asked.axes.has(each))
        cells = tuple(self._repeated(dict.fromkeys(planned), asked))
        if not cells:
            raise UsageError(
                f"{self.source}: no cell is left of plan {self.name}",
                "what was asked for is what its [[exclude]] takes away",
            )
        return self._tagged(cells, asked.tags)

    def check_size(self) -> None:
        """Raise UsageError if there would be too many cells to think about."""
        if len(self.axes) + sum(map(len, self.include)) > LARGEST:
            raise self._too_many()

    def excludes(self, cell: Cell) -> bool:
        """Is it left out of the product?"""
        names = self.known.names(cell.guest)
        return any(each.matches(names, cell) for each in self.exclude)

    def _repeated(self, planned: Mapping[Cell, None], asked: Selection) -> Iterator[Cell]:
        count = 0
        for cell in planned:
            ways = asked.ways.before(self._ways(cell)).before(self.ways)
            repeats = ways.repeats or 1
            count += repeats
            if count > LARGEST:
                raise self._too_many()
            whole = replace(
                cell,
                expected=asked.expect or self._declared(cell),
                plan=called(self.source),
                asked=(*self._subject_asked(cell), *(("--repeats", "1") if repeats > 1 else ())),
                tags=ways.tags,
                deadline=ways.deadline,
                trace=ways.trace is not False,
            )
            yield from (replace(whole, repeat=n) for n in range(1, repeats + 1))

    def _subject_asked(self, cell: Cell) -> Iterator[str]:
        """The words of a command line that ask for a cell's subject and workload."""
        program = self.programs.get(cell.subject)
        if program and program.asked:
            yield from program.asked
        elif (cell.subject,) != self.axes.subjects:
            yield from ("--subject", cell.subject)
        if cell.workload and {cell.workload, *self.axes.workloads} != {"default"}:
            yield from ("--workload", cell.workload)

    def _declared(self, cell: Cell) -> Expectation | None:
        names = self.known.names(cell.guest)
        for pattern, expectation in self.expect:
            if pattern.matches(names, cell):
                return expectation
        if cell.subject == ALLOCATOR:
            return None
        program = self.programs.get(cell.subject)
        return program.expect if program else STARTS

    def _ways(self, cell: Cell) -> CellSettings:
        """What is said of the cell by patterns."""
        names = self.known.names(cell.guest)
        said = CellSettings()
        for pattern, ways in self.by_pattern:
            if pattern.matches(names, cell):
                said = said.before(ways)
        return said

    def _tagged(self, cells: tuple[Cell, ...], tags: tuple[str, ...]) -> tuple[Cell, ...]:
        there_are = dict.fromkeys(tag for cell in cells for tag in cell.tags)
        for tag in tags:
            if tag not in there_are:
                raise unknown("tag", tag, there_are)
        return tuple(cell for cell in cells if not tags or set(tags) & set(cell.tags))

    def _too_many(self) -> UsageError:
        return UsageError(
            f"{self.source}: plan {self.name} has more than {LARGEST} cells",
            "shorten its axes, or divide it into several plans",
        )
