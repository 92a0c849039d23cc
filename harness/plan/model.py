"""A plan that has been read: axes, patterns, programs, and how cells are run. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Literal

from foothold_lab.harness.model.cells import ALLOCATOR, Cell, Limits
from foothold_lab.harness.model.verdict import Expectation, Outcome

STARTS = Expectation(None, Outcome.STARTS)


@dataclass(frozen=True)
class Axes:
    """Lists whose product is cells; guests by canonical name. Policies and workloads are the
    allocator's: any other subject has neither.
    """

    guests: tuple[str, ...] = ()
    limits: tuple[Limits, ...] = ()
    subjects: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many cells the product has."""
        others = sum(1 for each in self.subjects if each != ALLOCATOR)
        allocators = (len(self.subjects) - others) * len(self.policies) * len(self.workloads)
        return len(self.guests) * len(self.limits) * (others + allocators)

    def __iter__(self) -> Iterator[Cell]:
        """Every combination, guests outermost."""
        for guest in self.guests:
            for limits in self.limits:
                for subject in self.subjects:
                    if subject != ALLOCATOR:
                        yield Cell(guest, limits, "", subject, "")
                        continue
                    for policy in self.policies:
                        for workload in self.workloads:
                            yield Cell(guest, limits, policy, subject, workload)

    def instead_of(self, other: Axes) -> Axes:
        """Return these, and the other's where these are empty."""
        names = [each.name for each in fields(self)]
        return Axes(*(getattr(self, name) or getattr(other, name) for name in names))

    def has(self, cell: Cell) -> bool:
        """Is the cell in every list that is not empty?"""
        return (
            (not self.guests or cell.guest in self.guests)
            and (not self.limits or cell.limits in self.limits)
            and (not self.subjects or cell.subject in self.subjects)
            and (not self.policies or cell.policy in ("", *self.policies))
            and (not self.workloads or cell.workload in ("", *self.workloads))
        )


@dataclass(frozen=True)
class Pattern:
    """Which cells something applies to: one of each list has to match. Shell wildcards allowed."""

    guests: tuple[str, ...] = ("*",)
    limits: tuple[str, ...] = ("*",)
    subjects: tuple[str, ...] = ("*",)
    policies: tuple[str, ...] = ("*",)
    workloads: tuple[str, ...] = ("*",)

    def matches(self, names: Iterable[str], cell: Cell) -> bool:
        """Does it apply to a cell whose guest has these names?"""
        return any(_matches(name, self.guests) for name in names) and (
            _matches(cell.subject, self.subjects)
            and _matches(cell.policy, self.policies)
            and _matches(cell.workload, self.workloads)
            and (self.limits == ("*",) or _matches(str(cell.limits), self.limits))
        )


def _matches(word: str, patterns: tuple[str, ...]) -> bool:
    return patterns == ("*",) or any(fnmatchcase(word, each) for each in patterns)


@dataclass(frozen=True)
class CellSettings:
    """How cells are run, as far as it is said: tags that they carry; how often; the deadline in
    seconds, of a guest of native speed; whether they are traced.
    """

    tags: tuple[str, ...] = ()
    repeats: int | None = None
    deadline: float | None = None
    trace: bool | None = None

    def before(self, other: CellSettings) -> CellSettings:
        """Return these, and the other's where these say nothing; the tags of both."""
        said = {
            each.name: getattr(other if getattr(self, each.name) is None else self, each.name)
            for each in fields(self)
        }
        return CellSettings(**(said | {"tags": tuple(dict.fromkeys(self.tags + other.tags))}))


@dataclass(frozen=True)
class Program:
    """A program that a plan, or the command line, makes a subject: how it is started, and what is
    expected of it where no `[[expect]]` says so. `env` holds assignments, `asked` the words of the
    command line that describe it. Seconds of patience; None: as many as is usual.
    """

    name: str
    program: str
    args: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    root: Literal["image", "host"] = "image"
    sysroot: str = ""
    timeout: float | None = None
    ready_pattern: str = ""
    expect: Expectation = STARTS
    asked: tuple[str, ...] = ()
