"""Bisection: the smallest limit under which something starts.

Bisection assumes that there is one edge. Two checks test that: the ends are tried first (it must
not start under the lowest limit and must start under the highest), and afterwards one limit in
every wide gap. A result that contradicts the edge is reported, because a reservation may fit under
a small limit and fail under a larger one (docs/limits.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.sizes import format_size

LOW, HIGH = 1 << 20, 64 << 30  # bytes: default range of the search
FINENESS = 64  # the default precision is a 64th of the edge
_PAGE = 4096


class Edge(StrEnum):
    """The result of a search."""

    FOUND = "found"
    BELOW = "starts under the lowest limit"
    ABOVE = "does not start under the highest limit"
    NEVER = "does not start, with or without a limit"
    SEVERAL = "does not always start under larger ones, or without"


@dataclass(frozen=True)
class Probe:
    """A limit that was tried, in bytes (None: no limit), and whether the subject started."""

    size: int | None
    starts: bool


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search and its result. `smallest` is the smallest limit under which it starts, `largest` the
    largest under which it does not; in bytes, None if unknown.
    """

    edge: Edge
    smallest: int | None
    largest: int | None
    probes: tuple[Probe, ...]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A search in a guest. `refused` and `observed` are evidence from a run under the largest limit
    that was not enough: the last call that was refused memory, and the observation.
    """

    guest: str
    subject: str
    policy: str
    kind: str
    search: Search
    refused: str = ""
    observed: str = ""

    def __str__(self) -> str:
        search = self.search
        if search.edge is Edge.FOUND and search.smallest and search.largest:
            enough, little = about(search.smallest), about(search.largest)
            if enough == little:
                enough, little = format_size(search.smallest), format_size(search.largest)
            return f"{enough} (not under {little})"
        if search.edge is Edge.BELOW and search.smallest:
            return f"at most {about(search.smallest)}"
        if search.edge is Edge.ABOVE and search.largest:
            return f"more than {about(search.largest)}"
        if search.edge is Edge.SEVERAL and search.smallest:
            return f"{about(search.smallest)}; it {search.edge}"
        return str(search.edge)


def about(size: int) -> str:
    """Format a size for people: in mebibytes, with one decimal place if it is not whole."""
    whole = size % (1 << 20) == 0 or size < 1 << 20
    return format_size(size) if whole else f"{size / (1 << 20):.1f}M"


def search(
    starts: Callable[[int | None], bool], low: int = LOW, high: int = HIGH, precision: int = 0
) -> Search:
    """Find the edge between `low` and `high`, to `precision` bytes; 0: to a part of the edge.

    `starts` tries a limit in bytes, or None. Raises UsageError if `low` is not below `high`.
    """
    if not 0 < low < high:
        raise UsageError("the lowest limit must be below the highest", "give --from less than --to")
    return _Search(starts, precision).between(low, high)


class _Search:
    def __init__(self, starts: Callable[[int | None], bool], precision: int) -> None:
        self._starts = starts
        self._precision = precision
        self._probes: list[Probe] = []

    def between(self, low: int, high: int) -> Search:
        unlimited = self._try(None)
        if not self._try(high):
            return self._without_edge(Edge.ABOVE if unlimited else Edge.NEVER)
        if self._try(low):
            return self._without_edge(Edge.BELOW if unlimited else Edge.SEVERAL)
        while high - low > self._precision_at(low):
            middle = _middle(low, high)
            if self._try(middle):
                high = middle
            else:
                low = middle
        self._check_gaps(low, high)
        sizes = [(each.size, each.starts) for each in self._probes if each.size is not None]
        several = not unlimited or any(starts != (size >= high) for size, starts in sizes)
        return Search(
            edge=Edge.SEVERAL if several else Edge.FOUND,
            smallest=high,
            largest=low,
            probes=tuple(self._probes),
        )

    def _check_gaps(self, low: int, high: int) -> None:
        """Try one limit in every wide gap that bisection has left, except at the edge."""
        tried = sorted(each.size for each in self._probes if each.size is not None)
        for near, wide in pairwise(tried):
            if wide > 2 * near and (near, wide) != (low, high):
                self._try(_middle(near, wide))

    def _precision_at(self, size: int) -> int:
        return max(_PAGE, self._precision or size // FINENESS)

    def _try(self, size: int | None) -> bool:
        self._probes.append(Probe(size, self._starts(size)))
        return self._probes[-1].starts

    def _without_edge(self, edge: Edge) -> Search:
        sizes = {each.starts: each.size for each in self._probes if each.size is not None}
        return Search(
            edge=edge,
            smallest=sizes.get(True),
            largest=sizes.get(False),
            probes=tuple(self._probes),
        )


def _middle(low: int, high: int) -> int:
    """Return the geometric mean of sizes that are far apart, else the arithmetic mean. It is
    rounded to whole mebibytes if that is possible, else to whole pages.
    """
    middle = math.isqrt(low * high) if high > 2 * low else (low + high) // 2
    for unit in (1 << 20, _PAGE):
        rounded = middle // unit * unit
        if low < rounded < high:
            return rounded
    return middle
