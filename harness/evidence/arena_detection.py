"""The path that the maps of the live subject show, by the arenas that its policy makes.

What the subject says of itself plays no part here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from foothold_lab.harness.evidence import maps
from foothold_lab.harness.evidence.maps import FOUR_GIB, is_usable
from foothold_lab.harness.model.verdict import ReservationPath

HIGH_ARENA = 0xF840000000
LOW_ARENA = 512 << 20  # of the low reservation, whose bitmap lies before it
LOW_HEAP = 2 << 30  # that this bitmap is for
SMALLEST = 16 << 20  # a smaller one is nothing to tell from other memory
ARENA = 64 << 20  # of Go since 1.11, at a multiple of its size
HINTS: Mapping[str, tuple[int, ...]] = {
    "modern": tuple(i << 40 | 0xC0 << 32 for i in range(128)),
    "modern-arm64": tuple(i << 40 | 0x40 << 32 for i in range(128)),
}
"""Where the policies ask for such arenas, in their order."""
POLICIES = ("before", "after", "grsec", "memlimit", *HINTS)  # those whose arenas are known here


@dataclass(frozen=True)
class Sighting:
    """The path that the maps show, None if none or more than one; `line` is the evidence.

    `base` is where the reservation begins, 0 without one.
    """

    path: ReservationPath | None
    base: int
    line: str


def sight(mappings: Sequence[maps.Mapping], policy: str = "after", pointers: int = 8) -> Sighting:
    """Decide the path from a live process's mappings alone, given what its policy would make of
    them and the bytes of its pointers.

    high: executable anonymous memory at 0xf840000000, and no low reservation. low: 512 MiB and the
    bitmap for 2 GiB before them, below 4 GiB, in use across the arena's start and reserved at their
    end. low-grown: the same, with a bitmap that covers more heap than those 512 MiB. Under
    RLIMIT_AS a low reservation may be smaller; then a ninth of it is bitmap (2012-02-24).

    Of a policy with HINTS, high: 64 MiB of readable and writable anonymous memory at one of them.
    low: such memory at another multiple of 64 MiB, and none at a hint.
    """
    if policy in HINTS:
        return _sparse(mappings, HINTS[policy])
    low = _Low(_HEAP_PER_BITMAP[pointers])
    high = next((each for each in mappings if _holds(each, HIGH_ARENA)), None)
    runs = list(_runs(mappings))
    found = next((run for run in map(low.trimmed, runs) if low.is_whole(run)), None)
    if high and found:
        return Sighting(None, 0, f"two arenas: {high} and {found[0].start:x}-{found[-1].end:x}")
    if high:
        return Sighting(ReservationPath.HIGH, HIGH_ARENA, f"{high} holds {HIGH_ARENA:#x}")
    if found:
        return low.sighting(found)
    if small := next((run for run in map(_reserved_part, runs) if low.is_shrunk(run)), None):
        line = f"{_reserved(small) >> 20}M reserved at {small[0].start:#x}, a ninth of them bitmap"
        return Sighting(ReservationPath.LOW, small[0].start, line)
    nothing = f"nothing at {HIGH_ARENA:#x}, " if pointers == 8 else ""
    return Sighting(None, 0, f"no arena: {nothing}no {low.length >> 20}M below 4G")


def _sparse(mappings: Sequence[maps.Mapping], hints: Sequence[int]) -> Sighting:
    heaps = [each for each in mappings if each.anonymous and each.permissions == "rw-p"]
    for hint in hints:
        for each in heaps:
            if each.start <= hint and hint + ARENA <= each.end:
                return Sighting(
                    ReservationPath.HIGH, hint, f"{each} holds 64M at the hint {hint:#x}"
                )
    for each in heaps:
        start = -(-each.start // ARENA) * ARENA
        if start + ARENA <= each.end:
            return Sighting(
                ReservationPath.LOW, start, f"{each} holds 64M at {start:#x}, which is no hint"
            )
    return Sighting(None, 0, "no arena: no 64M in use at a multiple of their size")


_HEAP_PER_BITMAP = {8: 16, 4: 8}  # bytes of heap that a byte of bitmap covers, by the pointer's


@dataclass(frozen=True)
class _Low:
    """The low reservation, a byte of whose bitmap covers so many of heap."""

    heap_per_bitmap: int

    @property
    def bitmap(self) -> int:
        return LOW_HEAP // self.heap_per_bitmap

    @property
    def length(self) -> int:
        return self.bitmap + LOW_ARENA

    def sighting(self, run: Sequence[maps.Mapping]) -> Sighting:
        base = run[0].start
        arena = base + self.bitmap
        heap = next(each for each in run if _holds(each, arena))
        covered = (arena - heap.start) * self.heap_per_bitmap
        path = ReservationPath.LOW_GROWN if covered > LOW_ARENA else ReservationPath.LOW
        size = (run[-1].end - base) >> 20
        return Sighting(path, base, f"{size}M reserved at {base:#x}, of them in use: {heap}")

    def trimmed(self, run: list[maps.Mapping]) -> list[maps.Mapping]:
        """Leave out what lies right below a reservation: a probe that went astray, one mapping with
        it, on a kernel that places upward; the tables, where a kernel of 32 bits places downward.
        It ends where the reserved tail ends.
        """
        return _from(run, run[0].start + _reserved(run) - self.length)

    def is_whole(self, run: Sequence[maps.Mapping]) -> bool:
        """Is it long enough, in use across the arena's start, reserved up to its end?"""
        base = run[0].start
        end = base + self.length
        long_enough = run[-1].end >= end
        in_use = any(_holds(each, base + self.bitmap) for each in run)
        tail = any(each.permissions == "---p" and each.start < end <= each.end for each in run)
        grown_to_its_end = is_usable(run, base + self.bitmap, end)
        return long_enough and in_use and (tail or grown_to_its_end)

    def is_shrunk(self, run: Sequence[maps.Mapping]) -> bool:
        """Has RLIMIT_AS made it smaller, and is it in use across the arena's start?"""
        length = _reserved(run)
        ninth = length // 9
        whole = SMALLEST <= length < self.length and length % (9 * 4096) == 0
        return whole and any(_holds(each, run[0].start + ninth) for each in run)


def _holds(mapping: maps.Mapping, address: int) -> bool:
    """Does heap memory of 2012, which is executable, hold this address?"""
    return mapping.start <= address < mapping.end and mapping.is_heap


def _runs(mappings: Sequence[maps.Mapping]) -> Iterator[list[maps.Mapping]]:
    """Group the anonymous mappings below 4 GiB into runs without a gap."""
    run: list[maps.Mapping] = []
    for each in mappings:
        if not each.anonymous or each.end > FOUR_GIB:
            continue
        if run and run[-1].end != each.start:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _from(run: list[maps.Mapping], start: int) -> list[maps.Mapping]:
    """The run from an address on, which is below its end; all of it if it begins later."""
    rest = [each for each in run if each.end > start]
    return [replace(rest[0], start=max(start, rest[0].start)), *rest[1:]]


def _reserved_part(run: list[maps.Mapping]) -> list[maps.Mapping]:
    """The run from its first reserved mapping on; the tables may lie right below."""
    return _from(run, next((each.start for each in run if each.permissions == "---p"), 0))


def _reserved(run: Sequence[maps.Mapping]) -> int:
    """Bytes from the beginning of a run to the end of its last reserved mapping; 0 without one."""
    return max((each.end - run[0].start for each in run if each.permissions == "---p"), default=0)
