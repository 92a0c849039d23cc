"""The typical duration of a cell, from its earlier durations.

The center is the median of the latest durations. The spread is the median absolute deviation (MAD).
A few runs on a busy machine change neither. For a normal distribution, 1.4826 times the MAD is the
standard deviation.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MIN_SAMPLES, MAX_SAMPLES = (
    5,
    30,
)  # earlier runs: with fewer nothing can be said, more are not looked at
SIGMAS = 5.0  # of a plan of 1,000 cells none should be told by chance, and times have long tails
MIN_SHARE = (
    0.25  # of the median: less is not worth a person's time, and five equal times have no MAD
)
MIN_SECONDS = 0.05  # seconds: less is the scheduler's
_NORMAL = 1.4826


@dataclass(frozen=True)
class TypicalTime:
    """The typical duration of a cell in seconds, from `samples` runs. More than `longest` is slower."""

    median: float
    spread: float
    samples: int

    @property
    def longest(self) -> float:
        """The longest duration that noise explains."""
        return self.median + max(SIGMAS * self.spread, MIN_SHARE * self.median, MIN_SECONDS)


def typical_time(seconds: Sequence[float]) -> TypicalTime | None:
    """Return the typical duration, or None if there are too few samples."""
    if len(seconds) < MIN_SAMPLES:
        return None
    latest = seconds[:MAX_SAMPLES]
    median = statistics.median(latest)
    deviation = statistics.median(abs(each - median) for each in latest)
    return TypicalTime(median, _NORMAL * deviation, len(latest))
