"""Looking for an edge by bisection: the smallest limit under which something starts.

Bisection finds one edge, and assumes that there is no other. So the ends are asked first (it must
not start under the lowest and must start under the highest), and afterwards once in every wide gap;
what contradicts is told, for a reservation may fit under a small limit and fail under a larger one
(docs/limits.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.sizes import format_size

LOW, HIGH = 1 << 20, 64 << 30  # bytes: where it is looked for
FINENESS = 64  # the edge is known to a 64th of itself, if nothing else is asked for
_PAGE = 4096


class Edge(StrEnum):
    """What a search came to."""

    FOUND = "found"
    BELOW = "starts under the lowest limit"
    ABOVE = "does not start under the highest limit"
    NEVER = "does not start, with or without a limit"
    SEVERAL = "does not always start under larger ones, or without"


@dataclass(frozen=True)
class Probe:
    """A limit that was tried, in bytes, None for none; whether the subject started under it."""

    size: int | None
    starts: bool


@dataclass(frozen=True)
class Search:
    """How the edge was looked for. `smallest` is the smallest limit known to be enough, `largest`
    the largest known not to be; in bytes, None if there is none.
    """

    edge: Edge
    smallest: int | None
    largest: int | None
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Threshold:
    """A search in a guest, and what happened under the largest limit that was not enough: the last
    call by which the kernel refused memory, and what the subject said.
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
    """Write a size as people say it: in mebibytes, with a tenth where they are not whole."""
    whole = size % (1 << 20) == 0 or size < 1 << 20
    return format_size(size) if whole else f"{size / (1 << 20):.1f}M"


def search(
    starts: Callable[[int | None], bool], low: int = LOW, high: int = HIGH, precision: int = 0
) -> Search:
    """Find the edge between `low` and `high`, to `precision` bytes; 0: to a part of itself.

    `starts` is asked of a limit in bytes, or of None. Raises UsageError if low is not below high.
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
        unlimited = self._ask(None)
        if not self._ask(high):
            return self._told(Edge.ABOVE if unlimited else Edge.NEVER)
        if self._ask(low):
            return self._told(Edge.BELOW if unlimited else Edge.SEVERAL)
        while high - low > self._fine(low):
            middle = _middle(low, high)
            if self._ask(middle):
                high = middle
            else:
                low = middle
        self._doubt(low, high)
        sizes = [(each.size, each.starts) for each in self._probes if each.size is not None]
        several = not unlimited or any(starts != (size >= high) for size, starts in sizes)
        return Search(Edge.SEVERAL if several else Edge.FOUND, high, low, tuple(self._probes))

    def _doubt(self, low: int, high: int) -> None:
        """Ask once more in every wide gap that bisection has left, but for the edge itself."""
        asked = sorted(each.size for each in self._probes if each.size is not None)
        for near, wide in pairwise(asked):
            if wide > 2 * near and (near, wide) != (low, high):
                self._ask(_middle(near, wide))

    def _fine(self, size: int) -> int:
        return max(_PAGE, self._precision or size // FINENESS)

    def _ask(self, size: int | None) -> bool:
        self._probes.append(Probe(size, self._starts(size)))
        return self._probes[-1].starts

    def _told(self, edge: Edge) -> Search:
        sizes = {each.starts: each.size for each in self._probes if each.size is not None}
        return Search(edge, sizes.get(True), sizes.get(False), tuple(self._probes))


def _middle(low: int, high: int) -> int:
    """The geometric mean as long as they are far apart, else the middle; in whole pages, and in
    whole mebibytes if there are some in between.
    """
    middle = math.isqrt(low * high) if high > 2 * low else (low + high) // 2
    for unit in (1 << 20, _PAGE):
        rounded = middle // unit * unit
        if low < rounded < high:
            return rounded
    return middle
