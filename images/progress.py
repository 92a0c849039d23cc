"""How long operations report their progress. The caller decides where a message goes."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives one-line messages. A `transient` one, such as a percentage, need not be kept."""

    def __call__(self, what: str, /, *, transient: bool = False) -> None:
        """Report one message."""


def no_progress(what: str, /, *, transient: bool = False) -> None:
    """Discard the message."""
