"""Deadlines are objects, passed down: an inner one ends before its outer one, logs survive."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A point in time (seconds of the monotonic clock)."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Has it passed?"""
        return self.remaining == 0.0

    def within(self, seconds: float) -> Deadline:
        """Return a deadline of at most `seconds` from now that ends a little before this one."""
        margin = min(0.5, 0.05 * self.remaining)
        return Deadline(min(self.at - margin, time.monotonic() + seconds))
