"""Bisection: the smallest limit under which something starts.

Bisection assumes that there is one edge. Two checks test that: the ends are tried first (it must
not start under the lowest limit and must start under the highest), and afterwards limits in every
wide gap, most of them just above the edge. A result that contradicts the edge is reported as not
monotonic, because a reservation may fit under a small limit and fail under a larger one
(docs/limits.md).

A sweep assumes nothing. It tries a geometric grid of limits, and finds the edge between all
neighbours that differ. What is narrower than the grid can escape it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.sizes import format_size

LOW, HIGH = 1 << 20, 64 << 30  # bytes: default range of the search
FINENESS = 64  # the default precision is a 64th of the edge
PER_DOUBLING = 8  # limits that a sweep tries between a size and its double
_PAGE = 4096
_NEAR, _NEAR_GAP = 16, 1.25  # up to 16 times the edge no gap may be wider than a quarter
_FAR_GAP, _GAP_BELOW = 2.0, 4.0  # beyond that, and below the edge


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


@dataclass(frozen=True)
class Band:
    """Limits from `first` to `last` bytes, both tried, under which the subject always or never
    started, as far as they were tried.
    """

    first: int
    last: int
    starts: bool

    def __str__(self) -> str:
        word = "starts" if self.starts else "does not start"
        if self.first == self.last:
            return f"{word} under {about(self.first)}"
        return f"{word} from {about(self.first)} to {about(self.last)}"


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search and its result. `smallest` is the smallest limit under which it starts, `largest` the
    largest under which it does not; in bytes, None if unknown. If it is not monotonic, `smallest` is
    the lowest of all and `largest` the highest.
    """

    edge: Edge
    smallest: int | None
    largest: int | None
    probes: tuple[Probe, ...]

    @property
    def bands(self) -> tuple[Band, ...]:
        """All limits that were tried, as bands, the lowest first."""
        tried = sorted({each.size: each.starts for each in self.probes if each.size}.items())
        bands: list[Band] = []
        for size, starts in tried:
            if bands and bands[-1].starts is starts:
                bands[-1] = Band(bands[-1].first, size, starts)
            else:
                bands.append(Band(size, size, starts))
        return tuple(bands)


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
            return f"{about(search.smallest)}, not monotonic: it {search.edge}"
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
    _check_range(low, high)
    return _Search(starts, precision).between(low, high)


def sweep(
    starts: Callable[[int | None], bool],
    low: int = LOW,
    high: int = HIGH,
    *,
    precision: int = 0,
    per_doubling: int = PER_DOUBLING,
) -> Search:
    """Try a geometric grid of limits between `low` and `high`, and find every edge between
    neighbours that differ; the rest is as of `search`.
    """
    _check_range(low, high)
    if per_doubling < 1:
        raise UsageError("a sweep needs at least one size per doubling", "give a larger number")
    return _Search(starts, precision).sweep(grid(low, high, per_doubling))


def grid(low: int, high: int, per_doubling: int) -> list[int]:
    """Return sizes in bytes from `low` to `high`, so many between a size and its double, in whole
    pages.
    """
    count = math.ceil(math.log2(high / low) * per_doubling)
    sizes = (round(low * (high / low) ** (n / count)) // _PAGE * _PAGE for n in range(1, count))
    return sorted({low, high, *(each for each in sizes if low < each < high)})


def _check_range(low: int, high: int) -> None:
    if not 0 < low < high:
        raise UsageError("the lowest limit must be below the highest", "give --from less than --to")


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
            self._check_gaps(low, low)
        else:
            self._check_gaps(*self._bisect(low, high))
        return self._result(unlimited=unlimited)

    def sweep(self, sizes: Sequence[int]) -> Search:
        unlimited = self._try(None)
        tried = [(size, self._try(size)) for size in sizes]
        for (low, starts), (high, differs) in pairwise(tried):
            if starts is not differs:
                self._bisect(low, high, below=starts)
        return self._result(unlimited=unlimited)

    def _bisect(self, low: int, high: int, *, below: bool = False) -> tuple[int, int]:
        """Narrow an edge to the precision. `below`: whether it starts under `low`."""
        while high - low > self._precision_at(low):
            middle = _middle(low, high)
            if self._try(middle) is below:
                low = middle
            else:
                high = middle
        return low, high

    def _result(self, *, unlimited: bool) -> Search:
        """Return the result of all that was tried."""
        enough = [each.size for each in self._probes if each.size and each.starts]
        little = [each.size for each in self._probes if each.size and not each.starts]
        if not enough:
            return self._without_edge(Edge.ABOVE if unlimited else Edge.NEVER)
        if not little:
            return self._without_edge(Edge.BELOW if unlimited else Edge.SEVERAL)
        several = not unlimited or min(enough) < max(little)
        return Search(
            edge=Edge.SEVERAL if several else Edge.FOUND,
            smallest=min(enough),
            largest=max(little),
            probes=tuple(self._probes),
        )

    def _check_gaps(self, low: int, high: int) -> None:
        """Try limits in every wide gap that bisection has left, except at the edge."""
        tried = sorted(each.size for each in self._probes if each.size is not None)
        waiting = [gap for gap in pairwise(tried) if gap != (low, high)]
        while waiting:
            near, far = waiting.pop()
            if far > _widest_gap(near, high) * near:
                middle = math.isqrt(near * far) // _PAGE * _PAGE
                if near < middle < far:
                    self._try(middle)
                    waiting += [(near, middle), (middle, far)]

    def _precision_at(self, size: int) -> int:
        return max(_PAGE, self._precision or size // FINENESS)

    def _try(self, size: int | None) -> bool:
        self._probes.append(Probe(size, self._starts(size)))
        return self._probes[-1].starts

    def _without_edge(self, edge: Edge) -> Search:
        enough = (each.size for each in self._probes if each.size and each.starts)
        little = (each.size for each in self._probes if each.size and not each.starts)
        return Search(
            edge=edge,
            smallest=min(enough, default=None),
            largest=max(little, default=None),
            probes=tuple(self._probes),
        )


def _widest_gap(size: int, edge: int) -> float:
    """Return the factor between two limits, of which `size` is the lower, that is narrow enough."""
    if size < edge:
        return _GAP_BELOW
    return _NEAR_GAP if size < _NEAR * edge else _FAR_GAP


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
