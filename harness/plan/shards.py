"""Shards: parts of a plan that machines run side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError

MOST_SHARDS = 1000
# A cut moves to a border between guests if that shifts it by at most 1/4 of a shard: an uneven
# shard costs less than booting a guest twice.
TOLERANCE = 4


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts, counted from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse `2/5`. Raises UsageError."""
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text, re.ASCII)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.count <= MOST_SHARDS:
            raise UsageError(
                f"{text!r} is not a shard",
                f"write number/count, for example 2/5: from 1/1 to {MOST_SHARDS}/{MOST_SHARDS}",
            )
        return shard

    def select(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Return this part of the cells. Each cell is in exactly one of the parts.

        The parts have equal sizes, except that the cells of one guest stay together where that
        shifts a cut by at most a quarter of a part. The result depends only on the cells and their
        order.
        """
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.guest, []).append(cell)
        borders = [0]
        for group in groups.values():
            borders.append(borders[-1] + len(group))
        by_guest = [cell for group in groups.values() for cell in group]
        start, end = (self._cut(number, borders) for number in (self.number - 1, self.number))
        selected = set(by_guest[start:end])
        return tuple(cell for cell in cells if cell in selected)

    def _cut(self, number: int, borders: Sequence[int]) -> int:
        """Return where the first `number` parts end.

        Integer arithmetic gives the same result on every machine.
        """
        total = borders[-1]
        nearest = min(borders, key=lambda border: abs(border * self.count - number * total))
        if TOLERANCE * abs(nearest * self.count - number * total) <= total:
            return nearest
        return (2 * number * total + self.count) // (2 * self.count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
