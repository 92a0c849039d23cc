"""Shards: parts of a plan that machines run side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError

MOST = 1000
NEAR = 4  # a quarter of a shard out of balance is worth a boot that is saved


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts, counted from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/5`. Raises UsageError."""
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text, re.ASCII)
        one = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= one.number <= one.count <= MOST:
            raise UsageError(
                f"{text!r} is no shard",
                f"write which of how many, as 2/5: from 1/1 to {MOST}/{MOST}",
            )
        return one

    def of(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Return this part of the cells: each cell is in exactly one of the parts.

        Parts are equal in size but for the cells of one guest, which stay together where that
        takes no more than a quarter of a part. They depend on the cells and their order alone.
        """
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.guest, []).append(cell)
        borders = [0]
        for group in groups.values():
            borders.append(borders[-1] + len(group))
        by_guest = [cell for group in groups.values() for cell in group]
        start, end = (self._cut(at, borders) for at in (self.number - 1, self.number))
        mine = set(by_guest[start:end])
        return tuple(cell for cell in cells if cell in mine)

    def _cut(self, number: int, borders: Sequence[int]) -> int:
        """Where the first `number` parts end: at a border of guests if there is one near. In whole
        numbers, so that it is the same everywhere.
        """
        total = borders[-1]
        nearest = min(borders, key=lambda border: abs(border * self.count - number * total))
        if NEAR * abs(nearest * self.count - number * total) <= total:
            return nearest
        return (2 * number * total + self.count) // (2 * self.count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
