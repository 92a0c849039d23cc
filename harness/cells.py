"""Cells: the unit of planning, running and reporting. Frozen values, JSON both ways."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.limits import Limits
from harness.verdict import Expectation

__all__ = ["Cell", "Limits"]


@dataclass(frozen=True)
class Cell:
    """One question: what happens to this subject, in this guest, under these limits?

    `declared` is what the plan expects, if it says so; `plan` is what to call that plan on the
    command line, empty for the default one; `where` is what names the guest there, if it is not
    `--guest NAME`. A program of the user's has no policy; `asked` is how it was given there.
    """

    guest: str
    limits: Limits
    policy: str
    subject: str = "allocator"
    workload: str = "default"
    declared: Expectation | None = field(default=None, compare=False)
    plan: str = field(default="", compare=False)
    where: tuple[str, ...] = field(default=(), compare=False)
    asked: tuple[str, ...] = field(default=(), compare=False)

    @property
    def id(self) -> str:
        """A name that is unique in a run, and a relative path."""
        return f"{self.guest}/{self.limits}/{self.variant}"

    @property
    def variant(self) -> str:
        """What runs: the allocator's policy, or the program."""
        return self.policy or self.subject

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs this cell alone."""
        plan = (self.plan,) if self.plan else ()
        return (
            "./foothold", "run", *plan, *(self.where or ("--guest", self.guest)),
            "--limit", str(self.limits),
            *(("--policy", self.policy) if self.policy else self.asked),
        )  # fmt: skip
