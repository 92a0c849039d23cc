"""What the runner needs of a part that keeps guests after their cells have run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Verdict


class GuestRetention(Protocol):
    """Decides which booted guests outlive their cells, and takes them over."""

    def retains(self, verdicts: Sequence[Verdict]) -> bool:
        """Say whether a guest in which these cells ran is kept."""

    def take_over(self, boot: str, guest: Guest, facts: Facts, end: Callable[[], None]) -> None:
        """Take over a running guest. `boot` is its name in the run; `end` stops it."""
