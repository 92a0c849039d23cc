"""Ledgers: what a program asked of its address space, what it was given, and what became of it.

Every witness gives its address_space in this one shape, so that two of them can be laid side by side.
Pure values. Addresses and lengths in bytes, protections as /proc/PID/maps writes them (`rw-`),
flags by the names of mmap(2) without their `MAP_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sortedcontainers import SortedDict

from foothold_lab.harness.model.deadline import Check, checked, unchecked
from foothold_lab.harness.model.sizes import format_size

PAGE = 4096  # of most guests
UNKNOWN_PROTECTION = "???"  # of a range that a failed call may have changed or unmapped
_REFUSED_AT_ONCE = ("EINVAL", "EBADF", "EACCES", "EPERM")  # errors of the arguments
LARGE = 64 << 20  # from here on a reservation is of interest by its size: Go's arena, glibc's heaps

# include/uapi/linux/mman.h, asm-generic/mman-common.h, asm-generic/mman.h
_FLAGS = {
    0x01: "SHARED", 0x02: "PRIVATE", 0x10: "FIXED", 0x20: "ANONYMOUS", 0x100: "GROWSDOWN",
    0x800: "DENYWRITE", 0x1000: "EXECUTABLE", 0x2000: "LOCKED", 0x4000: "NORESERVE",
    0x8000: "POPULATE", 0x10000: "NONBLOCK", 0x20000: "STACK", 0x40000: "HUGETLB",
    0x80000: "SYNC", 0x100000: "FIXED_NOREPLACE",
}  # fmt: skip
_TOLD_FLAGS = ("32BIT", "GROWSDOWN", "HUGETLB", "LOCKED", "POPULATE")  # they may cause a refusal
FIXED = frozenset({"FIXED", "FIXED_NOREPLACE"})
PRIVATE_ANONYMOUS = frozenset({"PRIVATE", "ANONYMOUS"})


class Answer(StrEnum):
    """How the kernel answered a request. `placed`: the program requested no address."""

    PLACED = "placed"
    HONOURED = "honoured"
    MOVED = "moved"
    REFUSED = "refused"


class ReservationState(StrEnum):
    """What became of a reservation, or of a part of it."""

    KEPT = "kept"
    PROTECTED = "protected later"
    REPLACED = "replaced by MAP_FIXED"
    UNMAPPED = "unmapped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One request for addresses.

    `requested` is the address, 0 if any will do, None if the witness cannot know it, or if mremap(2)
    made the mapping. `granted` is
    None if the kernel refused; `errno` is then its name. `states` are in order of time. `nested`:
    the address lies in what the program had reserved before. `injected`: a fault made the mapping,
    not the program.
    """

    requested: int | None
    length: int
    protection: str
    flags: frozenset[str]
    granted: int | None
    errno: str = ""
    states: tuple[ReservationState, ...] = field(default=(), compare=False, kw_only=True)
    nested: bool = field(default=False, compare=False, kw_only=True)
    injected: bool = field(default=False, compare=False, kw_only=True)

    @property
    def answer(self) -> Answer:
        """How the kernel answered."""
        if self.granted is None:
            return Answer.REFUSED
        if not self.requested:
            return Answer.PLACED
        return Answer.HONOURED if self.granted == self.requested else Answer.MOVED

    @property
    def hinted(self) -> bool:
        """Did the program request an address that the kernel may change?"""
        return bool(self.requested) and not self.flags & FIXED

    @property
    def anonymous(self) -> bool:
        """Is it memory without a file?"""
        return "ANONYMOUS" in self.flags

    @property
    def notable(self) -> bool:
        """Does it show where the program reserves: is it anonymous, and large or hinted?"""
        if "ANONYMOUS" not in self.flags or self.injected:
            return False
        return self.length >= LARGE or self.hinted

    def __str__(self) -> str:
        where = "anywhere" if not self.requested else f"{self.requested:#x}"
        if self.requested and self.flags & FIXED:
            where = f"exactly {where}"
        size = format_size(self.length) if self.length % 1024 == 0 else str(self.length)
        flags = "".join(f" MAP_{flag}" for flag in _TOLD_FLAGS if flag in self.flags)
        request = f"{size} {self.protection}{flags} at {where}"
        if self.requested is None:
            return f"{size} {self.protection}{flags} at {self.granted or 0:#x}"
        if self.answer is Answer.REFUSED:
            return f"{request}: refused, {self.errno}"
        states = f", {', '.join(self.states)}" if self.states else ""
        return f"{request}: {self.answer}, {self.granted:#x}{states}"


Ledger = tuple[Reservation, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """A step: the program requested addresses. `line` is how the witness wrote it, `thread` the
    number of the thread that made the call, 0 if unknown.
    """

    reservation: Reservation
    line: str = field(default="", compare=False)
    thread: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Unmap:
    """A step: the program unmapped [start, start+length)."""

    start: int
    length: int
    line: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect:
    """A step: [start, start+length) got another protection.

    `errno` is the error of a call that failed. The kernel changes mapping after mapping, in order of
    their addresses, and stops at the first that it cannot change: at a hole with ENOMEM
    (do_mprotect_pkey() in mm/mprotect.c).
    """

    start: int
    length: int
    protection: str
    line: str = field(default="", compare=False)
    errno: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remap:
    """A step: mremap(2) made `length` bytes at `start` into `new_length` bytes at `new_start`.

    `keeps_old`: what was at `start` stays mapped (MREMAP_DONTUNMAP, or a `length` of 0).
    """

    start: int
    length: int
    new_start: int
    new_length: int
    line: str = field(default="", compare=False)
    keeps_old: bool = False


@dataclass(frozen=True, slots=True)
class Unsure:
    """A step: a call that failed may have unmapped [start, start+length)."""

    start: int
    length: int
    line: str = field(default="", compare=False)


Step = Map | Unmap | Protect | Remap | Unsure


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A mapped range [start, end). `place` is the place of its reservation in the ledger.

    The protection is UNKNOWN_PROTECTION if a failed call may have changed or unmapped the range.
    """

    start: int
    end: int
    protection: str
    place: int


@dataclass(frozen=True)
class AddressSpace:
    """A ledger, and what of it is still mapped: disjoint pieces in order of their addresses."""

    ledger: Ledger = ()
    layout: tuple[Piece, ...] = ()


def flags_of(bits: int) -> frozenset[str]:
    """Name mmap's flags; what has no name stays a number."""
    names = {name for bit, name in _FLAGS.items() if bits & bit}
    rest = bits & ~sum(_FLAGS)
    return frozenset(names | ({f"{rest:#x}"} if rest else set()))


def protection_of(bits: int) -> str:
    """Write mmap's protection as the kernel's maps do."""
    return "".join(letter if bits & bit else "-" for bit, letter in ((1, "r"), (2, "w"), (4, "x")))


def replay(steps: Iterable[Step], check: Check = unchecked, page_size: int = PAGE) -> AddressSpace:
    """Follow the steps in order. `page_size` is that of the kernel, in bytes.

    Takes time in proportion to the steps and the pieces they touch, times the logarithm of the number
    of pieces. Raises what `check` raises.
    """
    space = _Space(page_size)
    for step in checked(steps, check):
        space.apply(step)
    return space.result()


class _Space:
    """The mapped pieces by their start, each as (end, protection, place)."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._ledger: list[Reservation] = []
        self._states: list[tuple[ReservationState, ...]] = []
        self._nested: set[int] = set()
        self._pieces: SortedDict[int, tuple[int, str, int]] = SortedDict()

    def apply(self, step: Step) -> None:
        if isinstance(step, Protect):
            self._protect(step)
        elif isinstance(step, Map):
            self._map(step.reservation)
        elif isinstance(step, Unmap):
            self._take(step.start, step.length, ReservationState.UNMAPPED)
        elif isinstance(step, Unsure):
            self._put_back(self._cut(step.start, step.length), UNKNOWN_PROTECTION)
        else:
            self._remap(step)

    def result(self) -> AddressSpace:
        layout = tuple(
            Piece(start=start, end=end, protection=protection, place=place)
            for start, (end, protection, place) in self._pieces.items()
        )
        for place in {piece.place for piece in layout}:
            self._note(place, ReservationState.KEPT)
        ledger = zip(self._ledger, self._states, strict=True)
        return AddressSpace(
            tuple(
                _with_states(one, states, nested=place in self._nested) if states else one
                for place, (one, states) in enumerate(ledger)
            ),
            layout,
        )

    def _map(self, reservation: Reservation) -> None:
        place = len(self._ledger)
        self._ledger.append(reservation)
        self._states.append(())
        start = reservation.granted
        if start is None:
            if "FIXED" in reservation.flags and reservation.errno not in _REFUSED_AT_ONCE:
                # mmap_region() in mm/vma.c may unmap what is there before it fails
                there = self._cut(reservation.requested or 0, reservation.length)
                self._put_back(there, UNKNOWN_PROTECTION)
            return
        taken = self._take(start, reservation.length, ReservationState.REPLACED)
        # a trace may show the calls of two threads in another order than the kernel's: only
        # MAP_FIXED replaces what is there
        if taken and "FIXED" in reservation.flags:
            self._nested.add(place)
        end = start + self._whole_pages(reservation.length)
        if end > start:
            self._pieces[start] = (end, reservation.protection, place)

    def _protect(self, step: Protect) -> None:
        length = step.length
        if step.errno:
            pieces = self._cut(step.start, length)
            self._put_back(pieces)
            first = _before_the_first_hole(pieces, step.start)
            length = first[-1].end - step.start if first else 0
            hole = 0 < length < self._whole_pages(step.length)
            if not (hole and step.errno == "ENOMEM"):
                # the kernel stopped at a mapping that this ledger cannot know
                self._put_back(first or pieces, UNKNOWN_PROTECTION)
                return
        taken = self._take(step.start, length, ReservationState.PROTECTED)
        self._put_back(taken, step.protection)

    def _put_back(self, pieces: Iterable[Piece], protection: str = "") -> None:
        """Put pieces back into the layout, with another protection if one is given."""
        for piece in pieces:
            self._pieces[piece.start] = (piece.end, protection or piece.protection, piece.place)

    def _remap(self, step: Remap) -> None:
        """The new mapping has the protection and the flags of the old one. What no step has mapped
        is of the kernel's making (the vdso, the heap of brk) or a file that execve has mapped.
        """
        state = None if step.keeps_old else ReservationState.UNMAPPED
        taken = self._take(step.start, max(step.length, self._page_size), state)
        protection = taken[0].protection if taken else "rw-"
        flags = self._ledger[taken[0].place].flags if taken else frozenset[str]()
        if step.keeps_old:
            self._put_back(taken)
        moved = Reservation(
            requested=None,  # its flags, not an address, say whether it may move
            length=step.new_length,
            protection=protection,
            flags=flags - FIXED,
            granted=step.new_start,
        )
        self._map(moved)

    def _take(self, start: int, length: int, state: ReservationState | None) -> list[Piece]:
        """Take a range out of the layout and return the pieces that were there, whose reservations
        get the `state`.
        """
        taken = self._cut(start, length)
        if state:
            for piece in taken:
                self._note(piece.place, state)
        return taken

    def _cut(self, start: int, length: int) -> list[Piece]:
        """Remove a range from the layout and return the pieces that were there."""
        end = start + self._whole_pages(length)
        pieces = self._pieces
        taken: list[Piece] = []
        if end == start:
            return taken
        first = next(pieces.irange(maximum=start, reverse=True), None)
        if first is not None:
            first_end, protection, place = pieces[first]
            if first_end > start:  # it begins at the range's start or before it
                taken.append(
                    Piece(start=start, end=min(first_end, end), protection=protection, place=place)
                )
                if first < start:
                    pieces[first] = (start, protection, place)
                else:
                    del pieces[first]
                if first_end > end:
                    pieces[end] = (first_end, protection, place)
        if not taken or taken[0].end < end:
            for first in list(pieces.irange(start, end, inclusive=(True, False))):
                first_end, protection, place = pieces.pop(first)
                taken.append(
                    Piece(start=first, end=min(first_end, end), protection=protection, place=place)
                )
                if first_end > end:
                    pieces[end] = (first_end, protection, place)
        return taken

    def _whole_pages(self, length: int) -> int:
        return -(-length // self._page_size) * self._page_size

    def _note(self, place: int, state: ReservationState) -> None:
        if state not in self._states[place]:
            self._states[place] += (state,)


def _before_the_first_hole(pieces: Sequence[Piece], start: int) -> list[Piece]:
    """Return the pieces that follow each other without a hole from `start` on."""
    first = []
    for piece in pieces:
        if piece.start != start:
            break
        first.append(piece)
        start = piece.end
    return first


def _with_states(
    one: Reservation, states: tuple[ReservationState, ...], *, nested: bool
) -> Reservation:
    # dataclasses.replace() takes three times as long
    return Reservation(
        requested=one.requested,
        length=one.length,
        protection=one.protection,
        flags=one.flags,
        granted=one.granted,
        errno=one.errno,
        states=states,
        nested=nested,
        injected=one.injected,
    )
