"""The witness of the kernel: /proc/PID/maps of the running subject."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from foothold_lab.harness.model.ledger import (
    PRIVATE_ANONYMOUS,
    Ledger,
    Reservation,
    ReservationState,
)

LARGEST = 8 << 20  # characters; 65,530 mappings, the most that Linux allows, take about 5 MiB
FOUR_GIB = 4 << 30

_LINE = re.compile(
    r"(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) (?P<permissions>[r-][w-][x-][ps]) "
    r"(?P<offset>[0-9a-f]{1,16}) [0-9a-f]{2,8}:[0-9a-f]{2,8} (?P<inode>\d{1,20})(?: +(?P<name>.*))?"
)


class MapsError(ValueError):
    """A text is not what the kernel writes; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedRange:
    """One mapped range of addresses [start, end), as the kernel shows it. `name` is empty if it is
    anonymous.
    """

    start: int
    end: int
    permissions: str
    offset: int
    name: str = ""

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def anonymous(self) -> bool:
        """Is it private memory without a file? prctl(PR_SET_VMA) may have named it."""
        named = self.name and not self.name.startswith("[anon:")
        return not named and self.permissions.endswith("p")

    @property
    def is_heap(self) -> bool:
        """Is it heap memory of 2012, which was executable?"""
        return self.anonymous and self.permissions == "rwxp"

    @property
    def usable(self) -> bool:
        """Can it be read and written?"""
        return self.permissions.startswith("rw")

    def __str__(self) -> str:
        text = f"{self.start:x}-{self.end:x} {self.permissions}"
        return f"{text} {self.name}" if self.name else text


class _Range(Protocol):
    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


R = TypeVar("R", bound=_Range)


class RangeIndex(Generic[R]):
    """Disjoint ranges in order of their addresses, found by address in logarithmic time."""

    def __init__(self, ranges: Sequence[R]) -> None:
        self._ranges = ranges
        self._ends = [each.end for each in ranges]

    def overlapping(self, start: int, end: int) -> Iterator[R]:
        """Return the ranges that have an address in [start, end), in order."""
        for place in range(bisect_right(self._ends, start), len(self._ranges)):
            each = self._ranges[place]
            if each.start >= end:
                return
            yield each

    def cover(self, start: int, end: int, matches: Callable[[R], bool]) -> bool:
        """Is each address of [start, end) in a range that matches?"""
        for each in self.overlapping(start, end):
            if each.start > start or not matches(each):
                return False
            start = each.end
        return start >= end


def parse_maps(text: str) -> tuple[MappedRange, ...]:
    """Read /proc/PID/maps. Raises MapsError for anything that the kernel does not write.

    Source: Documentation/filesystems/proc.rst and show_map_vma() in fs/proc/task_mmu.c.
    """
    if len(text) > LARGEST:
        raise MapsError(f"the maps are longer than {LARGEST} characters")
    mappings: list[MappedRange] = []
    lines = text.split("\n")
    if lines.pop():
        raise MapsError(f"the maps end within line {len(lines) + 1}")
    previous = 0
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match:
            raise MapsError(f"line {number} is not a mapping: {line[:120]!r}")
        start, end = int(match["start"], 16), int(match["end"], 16)
        if not previous <= start < end:
            raise MapsError(f"line {number} is out of order: {line[:120]!r}")
        previous = end
        name = match["name"] or ""
        if match["inode"] != "0" and not name:
            raise MapsError(f"line {number} has an inode and no name: {line[:120]!r}")
        offset = int(match["offset"], 16)
        mappings.append(
            MappedRange(
                start=start, end=end, permissions=match["permissions"], offset=offset, name=name
            )
        )
    return tuple(mappings)


def is_usable(mappings: Sequence[MappedRange], start: int, end: int) -> bool:
    """Is all of [start, end) readable and writable?"""
    return RangeIndex(mappings).cover(start, end, lambda each: each.usable)


def ledger_of(mappings: Sequence[MappedRange]) -> Ledger:
    """Return a ledger of the anonymous mappings. The kernel does not know what was requested."""
    return tuple(
        Reservation(
            requested=None,
            length=each.length,
            protection=each.permissions[:3],
            flags=PRIVATE_ANONYMOUS,
            granted=each.start,
            states=(ReservationState.KEPT,),
        )
        for each in mappings
        if each.anonymous
    )
