"""What was expected, what was observed, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from harness.errors import Blame


class Path(StrEnum):
    """The way a reservation went."""

    HIGH = "high"
    LOW = "low"
    LOW_GROWN = "low-grown"
    REFUSED = "refused"


class Outcome(StrEnum):
    """What became of the subject."""

    ALLOCATES = "allocates"
    DIES = "dies"


class Result(StrEnum):
    """What a cell came to."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    ERROR = "error"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Expectation:
    """What must happen. `message` is the last line on stderr of a subject that dies."""

    path: Path
    outcome: Outcome
    status: int = 0
    message: str = ""
    reason: str = ""

    def agrees(self, other: Expectation) -> bool:
        """Is the other the same in all but its reason?"""
        return replace(self, reason="") == replace(other, reason="")

    def __str__(self) -> str:
        return describe(self.path, self.outcome, self.status, self.message)


@dataclass(frozen=True)
class Observation:
    """What the witnesses saw, already agreed between them, or what they say apart.

    `evidence` holds one line per witness, `contradictions` what two of them disagree on.
    """

    path: Path | None
    outcome: Outcome | None
    status: int
    signal: int
    message: str
    evidence: Mapping[str, str] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()

    def is_as(self, expected: Expectation) -> bool:
        """Is it what was expected, in path, outcome, status and message?"""
        seen = (self.path, self.outcome, self.status, self.message)
        asked = (expected.path, expected.outcome, expected.status, expected.message)
        return seen == asked and not self.signal

    def __str__(self) -> str:
        if self.signal:
            return f"killed by signal {self.signal}"
        if self.path is None or self.outcome is None:
            told = f"unclear, status {self.status}"
            return f"{told}: {self.message}" if self.message else told
        return describe(self.path, self.outcome, self.status, self.message)


@dataclass(frozen=True)
class Verdict:
    """What one cell came to; seconds are wall time of the cell alone.

    `findings` says in words which two of observation, prediction and plan disagree.
    """

    cell: str
    result: Result
    seconds: float
    predicted: Expectation | None = None
    declared: Expectation | None = None
    observed: Observation | None = None
    findings: tuple[str, ...] = ()
    blame: Blame | None = None
    hint: str = ""
    notes: tuple[str, ...] = ()
    console: str = ""
    command: tuple[str, ...] = ()
    artefacts: str = ""


def describe(path: Path, outcome: Outcome, status: int, message: str) -> str:
    """Write a path and an outcome as one phrase, for tables and sentences."""
    if outcome is Outcome.ALLOCATES:
        return f"{path}, allocates"
    dies = "dies" if path is Path.REFUSED else f"{path}, dies"
    return f"{dies}, status {status}: {message}" if message else f"{dies}, status {status}"
