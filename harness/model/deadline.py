"""Deadlines, passed down as values. An inner deadline ends before its outer one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Check = Callable[[], None]  # raises an error if the work is to be given up
LONGEST = 1e6  # seconds (11 days); a socket accepts no timeout of more than 24 days
_BATCH = 4096  # items between two checks, a few hundredths of a second


@dataclass(frozen=True)
class Deadline:
    """A point in time (seconds of the monotonic clock)."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that many seconds from now, at most LONGEST."""
        return cls(time.monotonic() + min(seconds, LONGEST))

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def socket_timeout(self) -> float:
        """Seconds left, for settimeout() of a socket: never 0, which means not to wait at all."""
        return max(self.remaining, 0.001)

    @property
    def expired(self) -> bool:
        """Has it passed?"""
        return self.remaining == 0.0

    def within(self, seconds: float) -> Deadline:
        """Return a deadline of at most `seconds` from now that ends a little before this one."""
        margin = min(0.5, 0.05 * self.remaining)
        return Deadline(min(self.at - margin, time.monotonic() + seconds))


def unchecked() -> None:
    """Let the work go on to its end."""


def checked(items: Iterable[T], check: Check) -> Iterator[T]:
    """Return the items, with a check from time to time. Raises what `check` raises."""
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        check()
        yield from batch
