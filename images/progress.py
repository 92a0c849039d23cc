"""How what takes long says that it goes on. Nothing here prints: whoever gives a Say decides."""

from __future__ import annotations

from typing import Protocol


class Say(Protocol):
    """Is told what happens, in one line. `passing` is of interest for a moment: a percentage."""

    def __call__(self, what: str, /, *, passing: bool = False) -> None:
        """Tell it."""


def silence(what: str, /, *, passing: bool = False) -> None:
    """Tell nobody."""
