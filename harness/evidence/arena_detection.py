"""Detects the path in the maps of the running subject, by the arenas that its policy makes.

The report of the subject plays no part here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from foothold_lab.harness.evidence.maps import FOUR_GIB, MappedRange, RangeIndex, is_usable
from foothold_lab.harness.model.verdict import ReservationPath

HIGH_ARENA = 0xF840000000
LOW_ARENA = 512 << 20  # the arena of the low reservation; its bitmap is below it
LOW_HEAP = 2 << 30  # what this bitmap covers
MIB = 1 << 20
BITMAP_CHUNK = 8192  # the bitmap grows by multiples of it
SMALLEST = 1 << 20  # a smaller one could not hold the first heap
CERTAIN = 16 << 20  # a smaller reservation cannot be told from other memory
ARENA = 64 << 20  # an arena of Go since 1.11, at a multiple of its size
HINTS: Mapping[str, tuple[int, ...]] = {
    "modern": tuple(i << 40 | 0xC0 << 32 for i in range(128)),
    "modern-arm64": tuple(i << 40 | 0x40 << 32 for i in range(128)),
    "modern-1.24": tuple(i << 40 | 0xC0 << 32 for i in range(64)),
}
COMMITTED = 4 << 20  # at a time, of an arena of Go since 1.19
PAGED = ("modern-1.24",)  # policies that commit the beginning of an arena only
"""The addresses at which each policy requests such arenas, in order."""
POLICIES = ("before", "after", "grsec", "memlimit", *HINTS)  # the policies with known arenas


@dataclass(frozen=True)
class DetectedPath:
    """The path that the maps show, None if they show none or more than one.

    `base` is the address of the reservation, 0 without one. `evidence` is one line that says why.
    """

    path: ReservationPath | None
    base: int
    evidence: str


def detect_path(
    mappings: Sequence[MappedRange], policy: str = "after", pointers: int = 8
) -> DetectedPath:
    """Detect the path in the mappings of a running process, given its policy and the size of its
    pointers in bytes.

    high: executable anonymous memory at 0xf840000000, and no low reservation. low: 512 MiB and the
    bitmap for 2 GiB before them, below 4 GiB, in use across the arena's start and reserved at their
    end. low-grown: the same, with a bitmap that covers more heap than those 512 MiB. Under
    RLIMIT_AS a low reservation may be smaller; then a ninth of it is bitmap (2012-02-24). Such a
    one is low-grown if its bitmap, extended downwards, covers heap beyond the reservation.

    Of a policy with HINTS, high: 64 MiB of readable and writable anonymous memory at one of them.
    low: such memory at another multiple of 64 MiB, and none at a hint. Of a policy in PAGED, the
    first 4 MiB of such an arena are in use at least, and the rest is reserved.
    """
    if policy in PAGED:
        return _paged(mappings, HINTS[policy])
    if policy in HINTS:
        return _sparse(mappings, HINTS[policy])
    shrinks = policy == "memlimit"
    low = _Low(_HEAP_PER_BITMAP[pointers], SMALLEST if shrinks else CERTAIN)
    high = next((each for each in mappings if _holds(each, HIGH_ARENA)), None)
    runs = list(_runs(mappings))
    found = next((run for run in map(low.trimmed, runs) if low.is_whole(run)), None)
    if high and found:
        return DetectedPath(None, 0, f"two arenas: {high} and {found[0].start:x}-{found[-1].end:x}")
    if high:
        return DetectedPath(ReservationPath.HIGH, HIGH_ARENA, f"{high} holds {HIGH_ARENA:#x}")
    if found:
        return low.detected(found)
    if small := next((run for run in map(_reserved_part, runs) if low.is_shrunk(run)), None):
        evidence = (
            f"{_reserved(small) >> 20}M reserved at {small[0].start:#x}, a ninth of them bitmap"
        )
        return DetectedPath(ReservationPath.LOW, small[0].start, evidence)
    for run in runs if shrinks else ():
        if base := low.outgrown_base(run, mappings):
            evidence = f"reserved at {base:#x}, bitmap from {run[0].start:#x} for heap beyond it"
            return DetectedPath(ReservationPath.LOW_GROWN, base, evidence)
    nothing = f"nothing at {HIGH_ARENA:#x}, " if pointers == 8 else ""
    return DetectedPath(None, 0, f"no arena: {nothing}no {low.length >> 20}M below 4G")


def _sparse(mappings: Sequence[MappedRange], hints: Sequence[int]) -> DetectedPath:
    heaps = [each for each in mappings if each.anonymous and each.permissions == "rw-p"]
    index = RangeIndex(heaps)
    for hint in hints:
        for each in index.overlapping(hint, hint + 1):
            if hint + ARENA <= each.end:
                evidence = f"{each} holds 64M at the hint {hint:#x}"
                return DetectedPath(ReservationPath.HIGH, hint, evidence)
    for each in heaps:
        start = -(-each.start // ARENA) * ARENA
        if start + ARENA <= each.end:
            evidence = f"{each} holds 64M at {start:#x}, which is not a hint"
            return DetectedPath(ReservationPath.LOW, start, evidence)
    return DetectedPath(None, 0, "no arena: no 64M in use at a multiple of their size")


def _paged(mappings: Sequence[MappedRange], hints: Sequence[int]) -> DetectedPath:
    """Detect an arena whose beginning is committed: at least 4 MiB in use, then a reservation up to
    a multiple of 64 MiB.
    """
    lows = []
    for run in _adjacent(mappings):
        for each in run:
            # the kernel may join the arena with another mapping in use that ends where it begins
            start = -(-each.start // ARENA) * ARENA
            end = -(-each.end // ARENA) * ARENA
            committed = each.permissions == "rw-p" and each.end - start >= COMMITTED
            if not committed or run[-1].end < end:
                continue
            evidence = f"{each} at the beginning of 64M reserved"
            if start in hints:
                return DetectedPath(ReservationPath.HIGH, start, f"{evidence}, at a hint")
            lows.append(DetectedPath(ReservationPath.LOW, start, f"{evidence}, not at a hint"))
    return lows[0] if lows else DetectedPath(None, 0, "no arena: no 64M with 4M of them in use")


def _adjacent(mappings: Sequence[MappedRange]) -> Iterator[list[MappedRange]]:
    """Group anonymous mappings without a gap between them."""
    run: list[MappedRange] = []
    for each in mappings:
        if run and (not each.anonymous or run[-1].end != each.start):
            yield run
            run = []
        if each.anonymous:
            run.append(each)
    if run:
        yield run


_HEAP_PER_BITMAP = {
    8: 16,
    4: 8,
}  # bytes of heap that a byte of bitmap covers, by the size of a pointer


@dataclass(frozen=True)
class _Low:
    """The low reservation. A byte of its bitmap covers `heap_per_bitmap` bytes of heap."""

    heap_per_bitmap: int
    smallest: int

    @property
    def bitmap(self) -> int:
        return LOW_HEAP // self.heap_per_bitmap

    @property
    def length(self) -> int:
        return self.bitmap + LOW_ARENA

    def detected(self, run: Sequence[MappedRange]) -> DetectedPath:
        base = run[0].start
        arena = base + self.bitmap
        heap = next(each for each in run if _holds(each, arena))
        covered = (arena - heap.start) * self.heap_per_bitmap
        path = ReservationPath.LOW_GROWN if covered > LOW_ARENA else ReservationPath.LOW
        size = (run[-1].end - base) >> 20
        return DetectedPath(path, base, f"{size}M reserved at {base:#x}, of them in use: {heap}")

    def trimmed(self, run: list[MappedRange]) -> list[MappedRange]:
        """Leave out what is mapped directly below the reservation. Where the kernel places upward,
        this is a probe that was moved; where a 32-bit kernel places downward, it is the tables. The
        reservation ends where its reserved tail ends.
        """
        return _from(run, run[0].start + _reserved(run) - self.length)

    def is_whole(self, run: Sequence[MappedRange]) -> bool:
        """Is it long enough, in use at the start of the arena, and reserved up to its end?"""
        base = run[0].start
        end = base + self.length
        long_enough = run[-1].end >= end
        in_use = any(_holds(each, base + self.bitmap) for each in run)
        tail = any(each.permissions == "---p" and each.start < end <= each.end for each in run)
        grown_to_its_end = is_usable(run, base + self.bitmap, end)
        return long_enough and in_use and (tail or grown_to_its_end)

    def is_shrunk(self, run: Sequence[MappedRange]) -> bool:
        """Has RLIMIT_AS made it smaller, and is it in use at the start of the arena?"""
        length = _reserved(run)
        ninth = length // 9
        whole = self.smallest <= length < self.length and length % (9 * 4096) == 0
        # the runtime asks for a multiple of a MiB; a small reservation is recognised only there
        certain = length >= CERTAIN or run[0].start % MIB == 0
        return whole and certain and any(_holds(each, run[0].start + ninth) for each in run)

    def outgrown_base(self, run: Sequence[MappedRange], mappings: Sequence[MappedRange]) -> int:
        """Return the base of a smaller reservation whose heap has outgrown it; 0 if none exists.

        The bitmap then begins below the reservation. The base is the multiple of a MiB for which a
        ninth of the reservation ends where the arena starts, and the bitmap of that arena covers
        memory in use beyond the reservation.
        """
        start = run[0].start
        end = start + (_reserved(run) or run[0].length)
        if not run[0].is_heap:
            return 0
        for base in range(-(-start // MIB) * MIB, end, MIB):
            length = end - base
            arena = base + length // 9
            bitmap = arena - start
            fits = self.smallest <= length < self.length and length % (9 * 4096) == 0
            if not fits or bitmap % BITMAP_CHUNK or not _holds(run[0], arena):
                continue
            covered = arena + bitmap * self.heap_per_bitmap
            last = covered - BITMAP_CHUNK * self.heap_per_bitmap  # the bitmap is rounded up
            beyond = (each for each in mappings if each.is_heap and each.start >= end)
            if any(each.start < covered and last < each.end for each in beyond):
                return base
        return 0


def _holds(mapping: MappedRange, address: int) -> bool:
    """Is this address in heap memory of 2012, which is executable?"""
    return mapping.start <= address < mapping.end and mapping.is_heap


def _runs(mappings: Sequence[MappedRange]) -> Iterator[list[MappedRange]]:
    """Group the anonymous mappings below 4 GiB into runs without a gap."""
    run: list[MappedRange] = []
    for each in mappings:
        if not each.anonymous or each.end > FOUR_GIB:
            continue
        if run and run[-1].end != each.start:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _from(run: list[MappedRange], start: int) -> list[MappedRange]:
    """Return the part of a run from an address on, which is below the end of the run."""
    rest = [each for each in run if each.end > start]
    return [replace(rest[0], start=max(start, rest[0].start)), *rest[1:]]


def _reserved_part(run: list[MappedRange]) -> list[MappedRange]:
    """Return the run from its first reserved mapping on. The tables may be directly below it."""
    return _from(run, next((each.start for each in run if each.permissions == "---p"), 0))


def _reserved(run: Sequence[MappedRange]) -> int:
    """Return the bytes from the start of a run to the end of its last reserved mapping, 0 without
    one.
    """
    return max((each.end - run[0].start for each in run if each.permissions == "---p"), default=0)
