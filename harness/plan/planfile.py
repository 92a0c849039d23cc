"""A whole plan, and how it becomes cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foothold_lab.harness.model.cells import ALLOCATOR, Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.ssh_address import SshAddress, machine_option
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.harness.plan.builtin import plan_argument
from foothold_lab.harness.plan.model import STARTS, Axes, CellSettings, Pattern, Program
from foothold_lab.harness.plan.vocabulary import Vocabulary, unknown_word

MOST_CELLS = 100_000  # a plan with more is taken for a mistake


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which cells of a plan to run, and what replaces the plan's own settings.

    Lists of `axes` that are not empty replace those of the plan's `[axes]`, and select from each
    `[[include]]`. A subject that the plan does not have replaces the subjects of the includes too:
    it runs in every guest of the plan. A guest that the plan has only in its includes gets the
    cells of these, unless another list has a value that they lack for it. `tags` selects cells with one of these tags. `settings` has
    no tags. `expect` replaces the expectation of every cell.
    """

    axes: Axes = field(default_factory=Axes)
    tags: tuple[str, ...] = ()
    settings: CellSettings = field(default_factory=CellSettings)
    expect: Expectation | None = None


EVERYTHING = Selection()


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """A plan that has been checked.

    `require` holds canonical names of guests. `settings` apply to all cells, `overrides` to those
    that match. `vocabulary` includes the names of the plan's own programs and machines.
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
    settings: CellSettings
    overrides: tuple[tuple[Pattern, CellSettings], ...]
    jobs: int | None
    boot_per_cell: bool
    retries: int
    vocabulary: Vocabulary = field(repr=False)

    def with_program(self, program: Program) -> PlanFile:
        """Return the same plan with one more subject. Raises UsageError for its name."""
        vocabulary = self.vocabulary.with_subject(program.name, program.program)
        programs = {**self.programs, program.name: program}
        return replace(self, vocabulary=vocabulary, programs=programs)

    def with_machine(self, name: str, address: SshAddress) -> PlanFile:
        """Return the same plan with one more machine as a guest. Raises UsageError for its name."""
        if self.vocabulary.machines.get(name) == address:
            return self
        return replace(self, vocabulary=self.vocabulary.with_machine(name, address))

    def cells(self, selection: Selection = EVERYTHING) -> tuple[Cell, ...]:
        """Return the selected cells in the order of the plan, each once.

        Raises UsageError if no cell remains, or too many do.
        """
        axes = selection.axes.fill_from(self.axes)
        if (selection.axes.policies or selection.axes.workloads) and ALLOCATOR not in axes.subjects:
            raise UsageError(
                f"{', '.join(axes.subjects)}: only the allocator has policies and workloads",
                f"leave them out, or add the subject {ALLOCATOR}",
            )
        include = self._included(selection.axes.subjects)
        replace(self, axes=axes, include=include).check_size()
        included = [each for more in include for each in more if selection.axes.admits(each)]
        axes = replace(axes, guests=self._guests_of_product(axes.guests, selection.axes, included))
        planned = [each for each in axes if not self.excludes(each)] + included
        cells = tuple(self._repeated(dict.fromkeys(planned), selection))
        if not cells:
            raise UsageError(
                f"{self.source}: no cell of plan {self.name} is selected",
                "its [[exclude]] leaves out everything that the options select",
            )
        return self._tagged(cells, selection.tags)

    def check_size(self) -> None:
        """Raise UsageError if the plan has too many cells."""
        if len(self.axes) + sum(map(len, self.include)) > MOST_CELLS:
            raise self._too_many()

    def excludes(self, cell: Cell) -> bool:
        """Is the cell left out of the product?"""
        names = self.vocabulary.names_of(cell.guest)
        return any(each.matches(names, cell) for each in self.exclude)

    def _included(self, subjects: tuple[str, ...]) -> tuple[Axes, ...]:
        """Return the includes; subjects that the plan does not have replace those of each."""
        planned = {name for axes in (self.axes, *self.include) for name in axes.subjects}
        if new := tuple(name for name in subjects if name not in planned):
            kept = (
                tuple(name for name in each.subjects if name in subjects) for each in self.include
            )
            return tuple(
                each.with_subjects((*old, *new))
                for each, old in zip(self.include, kept, strict=True)
            )
        return self.include

    def _guests_of_product(
        self, guests: tuple[str, ...], selected: Axes, included: Sequence[Cell]
    ) -> tuple[str, ...]:
        """Return the guests for which the axes make cells, beside the cells that are included."""
        return tuple(
            name
            for name in guests
            if name in self.axes.guests
            or not selected.are_all_in([each for each in included if each.guest == name])
        )

    def _repeated(self, planned: Mapping[Cell, None], selection: Selection) -> Iterator[Cell]:
        count = 0
        for cell in planned:
            own = self._overrides_for(cell).fill_from(self.settings)
            settings = selection.settings.fill_from(own)
            repeats = settings.repeats or 1
            count += repeats
            if count > MOST_CELLS:
                raise self._too_many()
            whole = replace(
                cell,
                expected=selection.expect or self._expectation(cell),
                plan=plan_argument(self.source),
                where=self._where(cell),
                asked=(*self._options(cell), *(("--repeats", "1") if repeats > 1 else ())),
                tags=settings.tags,
                deadline=settings.deadline,
                trace=settings.trace is not False,
            )
            yield from (replace(whole, repeat=n) for n in range(1, repeats + 1))

    def _where(self, cell: Cell) -> tuple[str, ...]:
        """Return the command line options that select a guest, if its name alone does not."""
        address = self.vocabulary.machines.get(cell.guest)
        return machine_option(cell.guest, address) if address else ()

    def _options(self, cell: Cell) -> Iterator[str]:
        """Yield the command line options that select a cell's subject and workload."""
        program = self.programs.get(cell.subject)
        if program and program.options:
            yield from program.options
        elif self._values_for(cell.guest, "subjects") != {cell.subject}:
            yield from ("--subject", cell.subject)
        workloads = self._values_for(cell.guest, "workloads") | {cell.workload}
        if cell.workload and workloads != {"default"}:
            yield from ("--workload", cell.workload)

    def _values_for(self, guest: str, axis: str) -> set[str]:
        """Return the values of one axis that a selection of this guest alone has."""
        found = (getattr(axes, axis) for axes in (self.axes, *self.include) if guest in axes.guests)
        return set(itertools.chain(*found)) or set(getattr(self.axes, axis))

    def _expectation(self, cell: Cell) -> Expectation | None:
        names = self.vocabulary.names_of(cell.guest)
        for pattern, expectation in self.expect:
            if pattern.matches(names, cell):
                return expectation
        if cell.subject == ALLOCATOR:
            return None
        program = self.programs.get(cell.subject)
        return program.expect if program else STARTS

    def _overrides_for(self, cell: Cell) -> CellSettings:
        names = self.vocabulary.names_of(cell.guest)
        found = CellSettings()
        for pattern, settings in self.overrides:
            if pattern.matches(names, cell):
                found = found.fill_from(settings)
        return found

    def _tagged(self, cells: tuple[Cell, ...], tags: tuple[str, ...]) -> tuple[Cell, ...]:
        known = dict.fromkeys(tag for cell in cells for tag in cell.tags)
        for tag in tags:
            if tag not in known:
                raise unknown_word("tag", tag, known)
        return tuple(cell for cell in cells if not tags or set(tags) & set(cell.tags))

    def _too_many(self) -> UsageError:
        return UsageError(
            f"{self.source}: plan {self.name} has more than {MOST_CELLS} cells",
            "shorten its axes, or divide it into several plans",
        )
