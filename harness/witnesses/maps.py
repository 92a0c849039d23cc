"""The kernel's witness: /proc/PID/maps of the live subject, and the path that it shows.

What the subject says of itself plays no part here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.ledger import Fate, Ledger, Reservation
from harness.verdict import Path

LARGEST = 8 << 20  # characters; 65,530 mappings, the most that Linux allows, take about 5 MiB
HIGH_ARENA = 0xF840000000
LOW_LENGTH = 640 << 20  # the low reservation: 128 MiB of bitmap, then 512 MiB of arena
LOW_BITMAP = 128 << 20
LOW_ARENA = 512 << 20
SMALLEST = 16 << 20  # a smaller one is nothing to tell from other memory
POLICIES = ("before", "after", "grsec", "memlimit")  # those whose arenas are known here
HEAP_PER_BITMAP = 16  # bytes of heap that a byte of bitmap covers
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


@dataclass(frozen=True)
class Sighting:
    """The path that the maps show, None if none or more than one; `line` is the evidence.

    `base` is where the reservation begins, 0 without one.
    """

    path: Path | None
    base: int
    line: str


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


def sight(mappings: Sequence[Mapping]) -> Sighting:
    """Decide the path from a live process's mappings alone.

    high: executable anonymous memory at 0xf840000000, and no 640 MiB reserved below 4 GiB. low:
    those 640 MiB, in use across the arena's start and reserved at their end. low-grown: the same,
    with a bitmap that covers more heap than the 512 MiB of the reservation. Under RLIMIT_AS a low
    reservation may be smaller; then a ninth of it is bitmap (2012-02-24).
    """
    high = next((each for each in mappings if _holds(each, HIGH_ARENA)), None)
    low = next((run for run in map(_trimmed, _runs(mappings)) if _is_low(run)), None)
    if high and low:
        return Sighting(None, 0, f"two arenas: {high} and {low[0].start:x}-{low[-1].end:x}")
    if high:
        return Sighting(Path.HIGH, HIGH_ARENA, f"{high} holds {HIGH_ARENA:#x}")
    small = next((run for run in _runs(mappings) if _is_small(run)), None)
    if small and not low:
        length = _reserved(small)
        line = f"{length >> 20}M reserved at {small[0].start:#x}, a ninth of them bitmap"
        return Sighting(Path.LOW, small[0].start, line)
    if not low:
        return Sighting(None, 0, f"no arena: nothing at {HIGH_ARENA:#x}, no 640M below 4G")
    base = low[0].start
    arena = base + LOW_BITMAP
    heap = next(each for each in low if _holds(each, arena))
    covered = (arena - heap.start) * HEAP_PER_BITMAP
    path = Path.LOW_GROWN if covered > LOW_ARENA else Path.LOW
    size = (low[-1].end - base) >> 20
    return Sighting(path, base, f"{size}M reserved at {base:#x}, of them in use: {heap}")


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
        for each in mappings if each.anonymous
    )  # fmt: skip


def _holds(mapping: Mapping, address: int) -> bool:
    """Does heap memory of 2012, which is executable, hold this address?"""
    return mapping.start <= address < mapping.end and mapping.is_heap


def _runs(mappings: Sequence[Mapping]) -> list[list[Mapping]]:
    """Group the anonymous mappings below 4 GiB into runs without a gap."""
    runs: list[list[Mapping]] = []
    for each in mappings:
        if not each.anonymous or each.end > FOUR_GIB:
            continue
        if runs and runs[-1][-1].end == each.start:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _trimmed(run: list[Mapping]) -> list[Mapping]:
    """Leave out what lies right below a reservation and is one mapping with it, as a probe that
    went astray does on a kernel that places upward: 640 MiB end where the reserved tail ends.
    """
    start = run[0].start + _reserved(run) - LOW_LENGTH
    if not run[0].start < start < run[0].end:
        return run
    return [replace(run[0], start=start), *run[1:]]


def _reserved(run: Sequence[Mapping]) -> int:
    """Bytes from the beginning of a run to the end of its last reserved mapping; 0 without one."""
    return max((each.end - run[0].start for each in run if each.permissions == "---p"), default=0)


def _is_small(run: Sequence[Mapping]) -> bool:
    """Is it a low arena that RLIMIT_AS has made smaller, in use across the arena's start?"""
    length = _reserved(run)
    ninth = length // 9
    whole = SMALLEST <= length < LOW_LENGTH and length % (9 * 4096) == 0
    reserved = run[0].permissions == "---p"
    return whole and reserved and any(_holds(each, run[0].start + ninth) for each in run)


def _is_low(run: Sequence[Mapping]) -> bool:
    """Is it a low arena: long enough, in use across the arena's start, reserved up to its end?"""
    base = run[0].start
    long_enough = run[-1].end - base >= LOW_LENGTH
    in_use = any(_holds(each, base + LOW_BITMAP) for each in run)
    tail = any(
        each.permissions == "---p" and each.start < base + LOW_LENGTH <= each.end for each in run
    )
    return long_enough and in_use and (tail or _grown_to_its_end(run, base))


def _grown_to_its_end(run: Sequence[Mapping], base: int) -> bool:
    """Has the heap used up the reservation, so that no reserved tail is left?"""
    return is_usable(run, base + LOW_BITMAP, base + LOW_LENGTH)
