"""Cuts groups of cells into chunks, so that the last of them ends soon.

The cells of a guest stay together as long as that is shorter: a chunk more is a boot more. So several
lengths of chunks are tried on paper, the longest first, as if each free processor took the longest
chunk that is left. A shorter length is taken only if all chunks end sooner with it.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.runner.guest_cells import CellGroup

SHORTER = 0.9  # each length that is tried, compared with the one before
TRIED = 30  # lengths that are shorter than whole groups: the last one is a twentieth of the first
WORTH = 0.99  # of the time with longer chunks: it takes less, or the chunks stay longer
GOOD = 1.02  # of the least time that is possible: nothing more is tried
_HALVINGS = 12  # until the length of parts that are equally long is found


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A group, or a part of one, that runs in one task: its time in seconds, and its memory in MiB.

    `banned` are the addresses of workers that it was lost on.
    """

    group: CellGroup
    seconds: float
    memory: int
    banned: frozenset[str] = frozenset()


class _Whole:
    """A chunk that may be cut, with the times of its cells. `sums` are those until each cell."""

    def __init__(self, chunk: Chunk, seconds_of: Callable[[Cell], float]) -> None:
        self.chunk = chunk
        seconds = list(map(seconds_of, chunk.group.cells))
        self.sums = [0.0, *accumulate(seconds)]
        self.boot = max(chunk.seconds - self.sums[-1], 0.0)
        self.longest_cell = max(seconds, default=0.0)

    def borders(self, length: float) -> Sequence[int]:
        """Return where it is cut into the fewest chunks of at most this length, all about as long."""
        most = length - self.boot
        found = self._greedy(most)
        least = self.sums[-1] / (len(found) - 1)
        for _ in range(_HALVINGS if len(found) > 2 else 0):
            middle = (least + most) / 2
            if len(other := self._greedy(middle)) == len(found):
                found, most = other, middle
            else:
                least = middle
        return found

    def _greedy(self, most: float) -> Sequence[int]:
        """Return the borders of parts that take at most so many seconds, or have one cell."""
        found, last = [0], len(self.sums) - 1
        while found[-1] < last:
            at = found[-1]
            found.append(max(at + 1, bisect_right(self.sums, self.sums[at] + most) - 1))
        return found

    def lengths(self, borders: Sequence[int]) -> Iterator[float]:
        """Yield the times of its parts."""
        for begin, end in pairwise(borders):
            yield self.boot + self.sums[end] - self.sums[begin]

    def parts(self, borders: Sequence[int]) -> Iterator[Chunk]:
        """Yield its parts."""
        for (begin, end), seconds in zip(pairwise(borders), self.lengths(borders), strict=True):
            cells = self.chunk.group.cells[begin:end]
            group = replace(self.chunk.group, cells=cells)
            yield replace(self.chunk, group=group, seconds=seconds)


def cut(
    chunks: Sequence[Chunk], processors: int, seconds_of: Callable[[Cell], float]
) -> Iterator[Chunk]:
    """Yield chunks for so many processors. Each of the given ones is a whole group.

    `seconds_of` estimates the time of a cell.
    """
    wholes = [_Whole(each, seconds_of) for each in chunks if each.group.cells]
    borders = _best_borders(wholes, max(processors, 1))
    for whole, found in zip(wholes, borders, strict=True):
        yield from whole.parts(found)


def least_time(chunks: Sequence[Chunk], processors: int, longest: float) -> float:
    """Return the time that no packing of chunks goes below: that of all processors together, or
    of the longest that is not cut.
    """
    return max(sum(each.seconds for each in chunks) / processors, longest)


def packed_time(lengths: Sequence[float], processors: int) -> float:
    """Return when all chunks have ended, if each free processor takes the longest that is left."""
    free = [0.0] * min(processors, max(len(lengths), 1))
    for seconds in sorted(lengths, reverse=True):
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _best_borders(wholes: Sequence[_Whole], processors: int) -> Sequence[Sequence[int]]:
    chunks = [each.chunk for each in wholes]
    single = max((each.boot + each.longest_cell for each in wholes), default=0.0)
    ideal = least_time(chunks, processors, single)
    whole = max((each.seconds for each in chunks), default=0.0)
    shorter = (min(whole, 2 * ideal) * SHORTER**count for count in range(TRIED))
    best, best_time = list[Sequence[int]](), 0.0
    for length in (math.inf, *shorter):
        borders = [each.borders(length) for each in wholes]
        lengths = [
            one for each, at in zip(wholes, borders, strict=True) for one in each.lengths(at)
        ]
        time = packed_time(lengths, processors)
        if not best or time < best_time * WORTH:
            best, best_time = borders, time
        if best_time <= ideal * GOOD:
            break
    return best
