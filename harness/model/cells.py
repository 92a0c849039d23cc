"""Cells: the unit of planning, running and reporting. Frozen values, JSON both ways."""

from __future__ import annotations

from dataclasses import dataclass, field

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Expectation

__all__ = ["ALLOCATOR", "Cell", "Limits"]

ALLOCATOR = "allocator"  # the subject that has policies and workloads


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question: what happens to this subject, in this guest, under these limits?

    Policy and workload are the allocator's; any other subject has none. `repeat` counts from 1, if
    a question is asked more than once. `declared` is what the plan expects, if it says so; `plan`
    is what to call that plan on the command line, empty for the default one; `where` is what names
    the guest there, if it is not `--guest NAME`; `asked` is how subject and workload are given.
    `deadline` is in seconds, of a guest of native speed; None: as many as is usual.
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
        """A name that is unique in a run, and a relative path."""
        return f"{self.guest}/{self.limits}/{self.variant}"

    @property
    def variant(self) -> str:
        """What runs: the allocator's policy, with its workload if it is another one than usual, or
        the program; and for which time, from the second on.
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
