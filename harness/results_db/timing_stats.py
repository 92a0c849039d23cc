"""How long a cell may take: derived from how long it has taken.

The median of its latest times, and around it the median absolute deviation (MAD), since both are
left where they are by a few runs on a busy machine. 1.4826 times the MAD estimates the standard
deviation of a normal distribution.
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
    """What is usual of a cell, from `samples` earlier runs; seconds. More than `most` is slower."""

    median: float
    spread: float
    samples: int

    @property
    def longest(self) -> float:
        """The longest time that noise explains."""
        return self.median + max(SIGMAS * self.spread, MIN_SHARE * self.median, MIN_SECONDS)


def typical_time(seconds: Sequence[float]) -> TypicalTime | None:
    """Say what is usual; None if there are too few times to tell."""
    if len(seconds) < MIN_SAMPLES:
        return None
    latest = seconds[:MAX_SAMPLES]
    median = statistics.median(latest)
    deviation = statistics.median(abs(each - median) for each in latest)
    return TypicalTime(median, _NORMAL * deviation, len(latest))
