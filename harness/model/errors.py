"""Errors. Each carries blame: it decides the message to the user and how the run ends."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from foothold_lab.harness.model.findings import Code, Finding

if TYPE_CHECKING:  # it takes msgspec, which --help does without
    from foothold_lab.harness.model.record import Record


class Blame(StrEnum):
    """Who has to act on an error."""

    GUEST = "guest"
    SUBJECT = "subject"
    INFRASTRUCTURE = "infrastructure"
    USAGE = "usage"
    UNSUPPORTED = "unsupported"


class FootholdError(Exception):
    """Base of all errors of Foothold. `remedy` is one sentence, possibly empty; `code` is stable.

    The family of the code is the blame. `record` is what was recorded of the program that ran then,
    None if none did. Raises ValueError for a code of another family.
    """

    blame = Blame.INFRASTRUCTURE
    usual = Code.INFRASTRUCTURE_FAILED

    def __init__(self, message: str, remedy: str = "", *, code: Code | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.record: Record | None = None
        self.code = code or self.usual
        if self.code.family != self.blame:
            raise ValueError(f"an error of {self.blame} cannot have the code {self.code}")

    @property
    def finding(self) -> Finding:
        """The error as a finding of a verdict."""
        return Finding(self.code, str(self))


class GuestError(FootholdError):
    """A guest did not boot, died, hung, or flooded its console.

    `console` holds the last lines it printed, `argv` the exact command line that started it. `panic`
    is what its kernel printed at its end, after which no program ran; empty if that is not known.
    """

    blame = Blame.GUEST
    usual = Code.GUEST_FAILED

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        code: Code | None = None,
        console: str = "",
        argv: tuple[str, ...] = (),
        panic: str = "",
    ) -> None:
        super().__init__(message, remedy, code=code)
        self.console = console
        self.argv = argv
        self.panic = panic


class SubjectError(FootholdError):
    """A subject cannot be judged: it does not end, floods its output, or cannot be started."""

    blame = Blame.SUBJECT
    usual = Code.SUBJECT_FAILED


class InfrastructureError(FootholdError):
    """The laboratory itself failed."""

    blame = Blame.INFRASTRUCTURE


class UsageError(FootholdError):
    """The request of the user is wrong."""

    blame = Blame.USAGE
    usual = Code.USAGE_ERROR


class UnsupportedError(FootholdError):
    """This machine cannot do what was requested; `remedy` says what it lacks."""

    blame = Blame.UNSUPPORTED
    usual = Code.UNSUPPORTED_GUEST


class UndecidedError(UnsupportedError):
    """The oracle cannot predict what happens; `remedy` says what would decide it."""

    usual = Code.UNSUPPORTED_PREDICTION


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the known word that is most similar to an unknown one; empty if none is similar."""
    return next(iter(difflib.get_close_matches(word, list(dict.fromkeys(words)), n=1)), "")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return the question to append to a message about an unknown word, or an empty text."""
    near = nearest(word, words)
    return f": did you mean {near}?" if near else ""
