"""The kernel's witness: /proc/PID/maps of the live subject."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.ledger import Fate, Ledger, Reservation

LARGEST = 8 << 20  # characters; 65,530 mappings, the most that Linux allows, take about 5 MiB
_ANONYMOUS = frozenset({"PRIVATE", "ANONYMOUS"})
FOUR_GIB = 4 << 30

_LINE = re.compile(
    r"(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) (?P<permissions>[r-][w-][x-][ps]) "
    r"(?P<offset>[0-9a-f]{1,16}) [0-9a-f]{2,8}:[0-9a-f]{2,8} (?P<inode>\d{1,20})(?: +(?P<name>.*))?"
)


class MapsError(ValueError):
    """A text is not what the kernel would write; the message says where."""


@dataclass(frozen=True)
class Mapping:
    """One range of addresses, [start, end), as the kernel shows it; no `name` if anonymous."""

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
        """Is it private memory without a file or a name?"""
        return not self.name and self.permissions.endswith("p")

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


def parse_maps(text: str) -> tuple[Mapping, ...]:
    """Read /proc/PID/maps. Raises MapsError for anything that the kernel would not write."""
    if len(text) > LARGEST:
        raise MapsError(f"the maps are longer than {LARGEST} characters")
    mappings: list[Mapping] = []
    lines = text.split("\n")
    if lines.pop():
        raise MapsError(f"the maps end within line {len(lines) + 1}")
    previous = 0
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match:
            raise MapsError(f"line {number} is no mapping: {line[:120]!r}")
        start, end = int(match["start"], 16), int(match["end"], 16)
        if not previous <= start < end:
            raise MapsError(f"line {number} is out of order: {line[:120]!r}")
        previous = end
        name = match["name"] or ""
        if match["inode"] != "0" and not name:
            raise MapsError(f"line {number} has an inode and no name: {line[:120]!r}")
        mappings.append(Mapping(start, end, match["permissions"], int(match["offset"], 16), name))
    return tuple(mappings)


def is_usable(mappings: Sequence[Mapping], start: int, end: int) -> bool:
    """Is all of [start, end) mapped so that it can be read and written?"""
    for each in mappings:
        if each.start <= start < each.end and each.usable:
            start = each.end
        if start >= end:
            return True
    return False


def is_covered(mappings: Sequence[Mapping], start: int, end: int, protection: str) -> bool:
    """Is all of [start, end) mapped with this protection (`rw-`)?"""
    for each in mappings:
        if each.start <= start < each.end and each.permissions[:3] == protection:
            start = each.end
        if start >= end:
            return True
    return False


def ledger_of(mappings: Sequence[Mapping]) -> Ledger:
    """Return the kernel's own ledger: what is there, with no word of who asked for what."""
    return tuple(
        Reservation(
            None, each.length, each.permissions[:3], _ANONYMOUS, each.start, "", (Fate.HELD,)
        )
        for each in mappings
        if each.anonymous
    )
