"""The parts of a plan: axes, patterns, programs, and settings of cells. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Literal

from foothold_lab.harness.model.cells import ALLOCATOR, Cell, Limits
from foothold_lab.harness.model.verdict import Expectation, Outcome

STARTS = Expectation(path=None, outcome=Outcome.STARTS)


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Lists whose product is cells. Guests have their canonical names.

    Policies and workloads apply to the allocator only: other subjects have neither.
    """

    guests: tuple[str, ...] = ()
    limits: tuple[Limits, ...] = ()
    subjects: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of cells in the product."""
        others = sum(1 for each in self.subjects if each != ALLOCATOR)
        allocators = (len(self.subjects) - others) * len(self.policies) * len(self.workloads)
        return len(self.guests) * len(self.limits) * (others + allocators)

    def __iter__(self) -> Iterator[Cell]:
        """Yield every combination, guests outermost."""
        for guest in self.guests:
            for limits in self.limits:
                for subject in self.subjects:
                    if subject != ALLOCATOR:
                        yield Cell(
                            guest=guest, limits=limits, policy="", subject=subject, workload=""
                        )
                        continue
                    for policy in self.policies:
                        for workload in self.workloads:
                            yield Cell(
                                guest=guest,
                                limits=limits,
                                policy=policy,
                                subject=subject,
                                workload=workload,
                            )

    def fill_from(self, defaults: Axes) -> Axes:
        """Return these axes with every empty list taken from `defaults`."""
        names = [each.name for each in fields(self)]
        return Axes(**{name: getattr(self, name) or getattr(defaults, name) for name in names})

    def with_subjects(self, subjects: tuple[str, ...]) -> Axes:
        """Return the same axes for other subjects."""
        return replace(self, subjects=subjects)

    def are_all_in(self, cells: Sequence[Cell]) -> bool:
        """Are there cells, and do they have every value of the lists, the guests aside?"""
        return bool(cells) and (
            {each.limits for each in cells}.issuperset(self.limits)
            and {each.subject for each in cells}.issuperset(self.subjects)
            and {each.policy for each in cells}.issuperset(self.policies)
            and {each.workload for each in cells}.issuperset(self.workloads)
        )

    def admits(self, cell: Cell) -> bool:
        """Is the cell in every list that is not empty?"""
        return (
            (not self.guests or cell.guest in self.guests)
            and (not self.limits or cell.limits in self.limits)
            and (not self.subjects or cell.subject in self.subjects)
            and (not self.policies or cell.policy in ("", *self.policies))
            and (not self.workloads or cell.workload in ("", *self.workloads))
        )


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Selects cells: one word of each list has to match. Shell wildcards are allowed."""

    guests: tuple[str, ...] = ("*",)
    limits: tuple[str, ...] = ("*",)
    subjects: tuple[str, ...] = ("*",)
    policies: tuple[str, ...] = ("*",)
    workloads: tuple[str, ...] = ("*",)

    def matches(self, guest_names: Iterable[str], cell: Cell) -> bool:
        """Does it match a cell whose guest has these names?"""
        return any(_matches(name, self.guests) for name in guest_names) and (
            _matches(cell.subject, self.subjects)
            and _matches(cell.policy, self.policies)
            and _matches(cell.workload, self.workloads)
            and (self.limits == ("*",) or _matches(str(cell.limits), self.limits))
        )


def _matches(word: str, patterns: tuple[str, ...]) -> bool:
    # some limits contain wildcards: fail=mprotect[exec]:*:EACCES
    return patterns == ("*",) or any(word == each or fnmatchcase(word, each) for each in patterns)


@dataclass(frozen=True, kw_only=True)
class CellSettings:
    """How cells are run; None means that nothing is set.

    `deadline` is in seconds, for a guest of native speed.
    """

    tags: tuple[str, ...] = ()
    repeats: int | None = None
    deadline: float | None = None
    trace: bool | None = None

    def fill_from(self, defaults: CellSettings) -> CellSettings:
        """Return these settings, completed by `defaults`; the tags of both."""
        values = {
            each.name: getattr(defaults if getattr(self, each.name) is None else self, each.name)
            for each in fields(self)
        }
        return CellSettings(**(values | {"tags": tuple(dict.fromkeys(self.tags + defaults.tags))}))


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that a plan or the command line declares as a subject.

    `expect` holds where no `[[expect]]` matches. `env` holds assignments NAME=VALUE. `options` are
    the command line arguments that declare it, empty for a program of a plan. `timeout` is in
    seconds; None is the default.
    """

    name: str
    program: str
    args: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    keep_secrets: bool = False
    root: Literal["image", "host"] = "image"
    stdin: str = ""
    user: str = ""
    sysroot: str = ""
    timeout: float | None = None
    ready_pattern: str = ""
    ready_port: int = 0
    ready_file: str = ""
    ready_notify: bool = False
    expect: Expectation = STARTS
    options: tuple[str, ...] = ()
