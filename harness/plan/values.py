"""A plan that has been read and makes sense, and how it becomes cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from harness.cells import ALLOCATOR, Cell, Limits
from harness.errors import UsageError
from harness.plan.shipped import called
from harness.plan.words import Known, unknown, workload
from harness.verdict import Expectation, Outcome

STARTS = Expectation(None, Outcome.STARTS)


@dataclass(frozen=True)
class Program:
    """A program that a plan, or the command line, makes a subject: how it is started, and what is
    expected of it where no `[[expect]]` says so. Seconds of patience; None: as many as is usual.
    `sysroot` is where its libraries are looked for, empty: on this machine.
    """

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    root: Literal["image", "host"] = "image"
    patience: float | None = None
    expect: Expectation = STARTS
    sysroot: str = ""
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axes:
    """Lists whose product is cells; guests by canonical name. Policies and workloads are the
    allocator's: any other subject has neither.
    """

    guests: tuple[str, ...]
    limits: tuple[Limits, ...]
    policies: tuple[str, ...]
    subjects: tuple[str, ...] = (ALLOCATOR,)
    workloads: tuple[str, ...] = ("default",)

    def product(self) -> Iterator[Cell]:
        """Every combination, guests outermost."""
        for guest in self.guests:
            for limits in self.limits:
                for subject in self.subjects:
                    if subject != ALLOCATOR:
                        yield Cell(guest, limits, "", subject, "")
                        continue
                    for policy in self.policies:
                        for each in self.workloads:
                            yield Cell(guest, limits, policy, subject, each)


@dataclass(frozen=True)
class Pattern:
    """Which cells something applies to: one of each list has to match. Shell wildcards allowed."""

    guests: tuple[str, ...] = ("*",)
    limits: tuple[str, ...] = ("*",)
    policies: tuple[str, ...] = ("*",)
    subjects: tuple[str, ...] = ("*",)
    workloads: tuple[str, ...] = ("*",)

    def matches(self, names: Iterable[str], cell: Cell) -> bool:
        """Does it apply to a cell whose guest has these names?"""
        return any(_matches(name, self.guests) for name in names) and (
            _matches(str(cell.limits), self.limits)
            and _matches(cell.policy, self.policies)
            and _matches(cell.subject, self.subjects)
            and _matches(cell.workload, self.workloads)
        )


def _matches(word: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(word, each) for each in patterns)


@dataclass(frozen=True)
class PlanFile:
    """A plan that has been read and makes sense. `require` holds canonical names of guests."""

    source: Path
    name: str
    description: str
    axes: Axes
    exclude: tuple[Pattern, ...]
    include: tuple[Axes, ...]
    expect: tuple[tuple[Pattern, Expectation], ...]
    require: frozenset[str]
    programs: Mapping[str, Program]
    known: Known = field(repr=False)

    def knows(self, subject: str) -> bool:
        """Is there a subject of this name?"""
        return subject in self._subjects

    def subject(self, name: str) -> str:
        """Return the subject's name if it is one. Raises UsageError."""
        if self.knows(name):
            return name
        raise unknown("subject", name, self._subjects)

    def with_program(self, program: Program) -> PlanFile:
        """Return the same plan, which knows one subject more."""
        return replace(self, programs={**self.programs, program.name: program})

    def cells(
        self,
        guests: Sequence[str] = (),
        limits: Sequence[str] = (),
        policies: Sequence[str] = (),
        subjects: Sequence[str] = (),
        workloads: Sequence[str] = (),
    ) -> tuple[Cell, ...]:
        """Return the plan's cells in its order, each once.

        A list that is not empty replaces that axis, as `--guest`, `--limit` and so on do; of what
        is included, that which is in the list is left. Raises UsageError for a word that is not
        known, or if no cell remains.
        """
        asked = Axes(
            tuple(self.known.guest(each) for each in guests),
            tuple(Limits.parse(each) for each in limits),
            tuple(self.known.policy(each) for each in policies),
            tuple(self.subject(each) for each in subjects),
            tuple(workload(each) for each in workloads),
        )
        axes = Axes(
            asked.guests or self.axes.guests,
            asked.limits or self.axes.limits,
            asked.policies or self.axes.policies,
            asked.subjects or self.axes.subjects,
            asked.workloads or self.axes.workloads,
        )
        if (policies or workloads) and ALLOCATOR not in axes.subjects:
            raise UsageError(
                f"{', '.join(axes.subjects)}: only the allocator has policies and workloads",
                "leave --policy and --workload, or add --subject allocator",
            )
        planned = [each for each in axes.product() if not self._excluded(each)]
        for more in self.include:
            planned += (each for each in more.product() if _is_asked_for(each, asked))
        cells = tuple(self._complete(each) for each in dict.fromkeys(planned))
        if not cells:
            raise UsageError(
                f"{self.source}: no cell is left of plan {self.name}",
                "what was asked for is what its [[exclude]] takes away",
            )
        return cells

    @property
    def _subjects(self) -> tuple[str, ...]:
        return (ALLOCATOR, *self.programs, *self.known.subjects)

    def _complete(self, cell: Cell) -> Cell:
        """Return the cell with what the plan says of it."""
        asked: tuple[str, ...] = ()
        if program := self.programs.get(cell.subject):
            asked = program.asked
        if not asked and (cell.subject,) != self.axes.subjects:
            asked = ("--subject", cell.subject)
        if cell.workload and {cell.workload, *self.axes.workloads} != {"default"}:
            asked += ("--workload", cell.workload)
        return replace(cell, declared=self._declared(cell), plan=called(self.source), asked=asked)

    def _excluded(self, cell: Cell) -> bool:
        names = self.known.names(cell.guest)
        return any(each.matches(names, cell) for each in self.exclude)

    def _declared(self, cell: Cell) -> Expectation | None:
        names = self.known.names(cell.guest)
        for pattern, expectation in self.expect:
            if pattern.matches(names, cell):
                return expectation
        if cell.subject == ALLOCATOR:
            return None
        program = self.programs.get(cell.subject)
        return program.expect if program else STARTS


def _is_asked_for(cell: Cell, asked: Axes) -> bool:
    return (
        (not asked.guests or cell.guest in asked.guests)
        and (not asked.limits or cell.limits in asked.limits)
        and (not asked.policies or cell.policy in ("", *asked.policies))
        and (not asked.subjects or cell.subject in asked.subjects)
        and (not asked.workloads or cell.workload in ("", *asked.workloads))
    )
