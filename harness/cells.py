"""Cells: the unit of planning, running and reporting. Frozen values, JSON both ways."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from harness.errors import UsageError
from harness.sizes import format_size, parse_size
from harness.verdict import Expectation


@dataclass(frozen=True, order=True)
class Limits:
    """What narrows the address space inside a guest, applied before the subject's first
    instruction. Sizes in bytes; None leaves the guest's own.
    """

    rlimit_as: int | None = None

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read `none` or `rlimit_as=300M`. Raises UsageError, naming what is possible."""
        if text.strip() == "none":
            return cls()
        name, equals, value = text.partition("=")
        if name.strip() != "rlimit_as" or not equals:
            near = difflib.get_close_matches(name.strip(), ("none", "rlimit_as=SIZE"), n=1)
            meant = f": did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"unknown limit {text!r}{meant}",
                "limits are: none, rlimit_as=SIZE (for example rlimit_as=300M)",
            )
        return cls(rlimit_as=parse_size(value))

    def __str__(self) -> str:
        return "none" if self.rlimit_as is None else f"rlimit_as={format_size(self.rlimit_as)}"


@dataclass(frozen=True)
class Cell:
    """One question: what happens to this subject, in this guest, under these limits?

    `declared` is what the plan expects, if it says so; `plan` is what to call that plan on the
    command line, empty for the default one; `where` is what names the guest there, if it is not
    `--guest NAME`.
    """

    guest: str
    limits: Limits
    policy: str
    subject: str = "allocator"
    workload: str = "default"
    declared: Expectation | None = field(default=None, compare=False)
    plan: str = field(default="", compare=False)
    where: tuple[str, ...] = field(default=(), compare=False)

    @property
    def id(self) -> str:
        """A name that is unique in a run, and a relative path."""
        return f"{self.guest}/{self.limits}/{self.policy}"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs this cell alone."""
        plan = (self.plan,) if self.plan else ()
        return (
            "./foothold", "run", *plan, *(self.where or ("--guest", self.guest)),
            "--limit", str(self.limits), "--policy", self.policy,
        )  # fmt: skip
