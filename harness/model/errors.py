"""Errors carry blame: who has to act decides what the user is told and how the run ends."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum


class Blame(StrEnum):
    """Whose fault an error is."""

    GUEST = "guest"
    SUBJECT = "subject"
    INFRASTRUCTURE = "infrastructure"
    USAGE = "usage"
    UNSUPPORTED = "unsupported"


class FootholdError(Exception):
    """Something went wrong; `remedy` is the remedy, one sentence, possibly empty."""

    blame = Blame.INFRASTRUCTURE

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class GuestError(FootholdError):
    """A guest did not boot, died, hung, or flooded its console.

    `console` holds the last lines it printed, `argv` the exact command line that started it.
    """

    blame = Blame.GUEST

    def __init__(
        self, message: str, remedy: str = "", *, console: str = "", argv: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, remedy)
        self.console = console
        self.argv = argv


class SubjectError(FootholdError):
    """A subject misbehaved beyond judging: endless, flooding, or not to be started."""

    blame = Blame.SUBJECT


class InfrastructureError(FootholdError):
    """The laboratory itself failed."""

    blame = Blame.INFRASTRUCTURE


class UsageError(FootholdError):
    """What the user asked for makes no sense as it stands."""

    blame = Blame.USAGE


class UnsupportedError(FootholdError):
    """This machine cannot do it; `remedy` says what would have to be there."""

    blame = Blame.UNSUPPORTED


def nearest(word: str, words: Iterable[str]) -> str:
    """Return that of the words that there are which an unknown one may have been meant to be."""
    return next(iter(difflib.get_close_matches(word, list(dict.fromkeys(words)), n=1)), "")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return what to add to a message about an unknown word."""
    near = nearest(word, words)
    return f": did you mean {near}?" if near else ""
