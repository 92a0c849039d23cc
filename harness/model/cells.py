"""Cells: the unit of planning, running and reporting. Frozen values, convertible to JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Expectation

__all__ = ["ALLOCATOR", "OF_GUEST", "Cell", "Limits"]

ALLOCATOR = "allocator"  # the subject that has policies and workloads
OF_GUEST = "guest:"  # begins the name of a program that is in its guest


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question: what happens to this subject, in this guest, under these limits?

    Only the allocator has a policy and a workload. `repeat` counts from 1. `expected` is the
    expectation of the plan, None if it has none. `plan`, `where` and `asked` are parts of the command
    line of the cell: the plan (empty for the default plan), the options of the guest (empty for
    `--guest NAME`), and the options of subject and workload. `deadline` is in seconds for a guest of
    native speed, None for the default.
    """

    guest: str
    limits: Limits
    policy: str
    subject: str = ALLOCATOR
    workload: str = "default"
    repeat: int = 1
    expected: Expectation | None = field(default=None, compare=False)
    plan: str = field(default="", compare=False)
    where: tuple[str, ...] = field(default=(), compare=False)
    asked: tuple[str, ...] = field(default=(), compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deadline: float | None = field(default=None, compare=False)
    trace: bool = field(default=True, compare=False)

    @property
    def id(self) -> str:
        """A name that is unique in a run and usable as a relative path. A slash within the limits is
        written %2F.
        """
        return f"{self.guest}/{str(self.limits).replace('/', '%2F')}/{self.variant}"

    @staticmethod
    def guest_of(name: str) -> str:
        """Return the guest of the cell with this `id`."""
        return name.rsplit("/", 2)[0]

    @property
    def variant(self) -> str:
        """The policy of the allocator (with a workload other than the default) or the program; with
        the number of the repeat from the second on.
        """
        workload = f"+{self.workload}" if self.workload not in ("default", "") else ""
        again = f"~{self.repeat}" if self.repeat > 1 else ""
        return f"{self.policy or self.subject}{workload if self.policy else ''}{again}"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs this cell alone."""
        plan = (self.plan,) if self.plan else ()
        return (
            "foothold", "run", *plan, *(self.where or ("--guest", self.guest)),
            "--limit", str(self.limits),
            *(("--policy", self.policy) if self.policy else ()), *self.asked,
        )  # fmt: skip
