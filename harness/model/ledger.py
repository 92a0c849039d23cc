"""Ledgers: what a program asked of its address space, what it was given, and what became of it.

Every witness gives its account in this one shape, so that two of them can be laid side by side.
Pure values. Addresses and lengths in bytes, protections as /proc/PID/maps writes them (`rw-`),
flags by the names of mmap(2) without their `MAP_`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from foothold_lab.harness.model.sizes import format_size

PAGE = 4096
LARGE = 64 << 20  # from here on a reservation is of interest by its size: Go's arena, glibc's heaps

# include/uapi/linux/mman.h, asm-generic/mman-common.h, asm-generic/mman.h
_FLAGS = {
    0x01: "SHARED", 0x02: "PRIVATE", 0x10: "FIXED", 0x20: "ANONYMOUS", 0x100: "GROWSDOWN",
    0x800: "DENYWRITE", 0x1000: "EXECUTABLE", 0x2000: "LOCKED", 0x4000: "NORESERVE",
    0x8000: "POPULATE", 0x10000: "NONBLOCK", 0x20000: "STACK", 0x40000: "HUGETLB",
    0x80000: "SYNC", 0x100000: "FIXED_NOREPLACE",
}  # fmt: skip
FIXED = frozenset({"FIXED", "FIXED_NOREPLACE"})


class Answer(StrEnum):
    """What the kernel made of a request. `placed`: no address was asked for, one was given."""

    PLACED = "placed"
    HONOURED = "honoured"
    MOVED = "moved"
    REFUSED = "refused"


class Fate(StrEnum):
    """What became of a reservation, or of a part of it."""

    HELD = "held"
    PROTECTED = "protected later"
    REPLACED = "replaced by MAP_FIXED"
    UNMAPPED = "unmapped"


@dataclass(frozen=True)
class Reservation:
    """One request for addresses. `asked` is 0 if any will do, None if this witness cannot know.

    `given` is None if it was refused, then `errno` is its name. `became` is in order of time;
    `within` says that it was put into what the program had reserved already, `imposed` that a fault
    has put it there, and not the program.
    """

    asked: int | None
    length: int
    protection: str
    flags: frozenset[str]
    given: int | None
    errno: str = ""
    became: tuple[Fate, ...] = field(default=(), compare=False)
    within: bool = field(default=False, compare=False)
    imposed: bool = field(default=False, compare=False)

    @property
    def answer(self) -> Answer:
        """What the kernel made of it."""
        if self.given is None:
            return Answer.REFUSED
        if not self.asked:
            return Answer.PLACED
        return Answer.HONOURED if self.given == self.asked else Answer.MOVED

    @property
    def hinted(self) -> bool:
        """Was an address asked for that the kernel may change?"""
        return bool(self.asked) and not self.flags & FIXED

    @property
    def anonymous(self) -> bool:
        """Is it memory without a file?"""
        return "ANONYMOUS" in self.flags

    @property
    def tells(self) -> bool:
        """Does it say something of the program's way: is it large or hinted, and anonymous?"""
        return self.anonymous and not self.imposed and (self.hinted or self.length >= LARGE)

    def __str__(self) -> str:
        where = "anywhere" if not self.asked else f"{self.asked:#x}"
        if self.asked and self.flags & FIXED:
            where = f"exactly {where}"
        size = format_size(self.length) if self.length % 1024 == 0 else str(self.length)
        request = f"{size} {self.protection} at {where}"
        if self.asked is None:
            return f"{size} {self.protection} at {self.given or 0:#x}"
        if self.answer is Answer.REFUSED:
            return f"{request}: refused, {self.errno}"
        became = f", {', '.join(self.became)}" if self.became else ""
        return f"{request}: {self.answer}, {self.given:#x}{became}"


Ledger = tuple[Reservation, ...]


@dataclass(frozen=True)
class Map:
    """A step: addresses were asked for; `line` is how the witness wrote it."""

    reservation: Reservation
    line: str = field(default="", compare=False)


@dataclass(frozen=True)
class Unmap:
    """A step: [start, start+length) was given back."""

    start: int
    length: int
    line: str = field(default="", compare=False)


@dataclass(frozen=True)
class Protect:
    """A step: [start, start+length) got another protection."""

    start: int
    length: int
    protection: str
    line: str = field(default="", compare=False)


@dataclass(frozen=True)
class Remap:
    """A step: mremap(2) made `length` bytes at `start` into `new_length` bytes at `given`."""

    start: int
    length: int
    given: int
    new_length: int
    line: str = field(default="", compare=False)


Step = Map | Unmap | Protect | Remap


@dataclass(frozen=True)
class Piece:
    """A range [start, end) that is mapped; `of` is its reservation's place in the ledger."""

    start: int
    end: int
    protection: str
    of: int


@dataclass(frozen=True)
class Account:
    """A ledger, and what of it is still there: pieces in order of their addresses."""

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


def settle(steps: Iterable[Step]) -> Account:
    """Follow the steps in their order, and say what became of each reservation."""
    space = _Space()
    for step in steps:
        space.take(step)
    return space.account()


class _Space:
    def __init__(self) -> None:
        self._ledger: list[Reservation] = []
        self._fates: list[dict[Fate, None]] = []
        self._pieces: list[Piece] = []

    def take(self, step: Step) -> None:
        match step:
            case Map():
                self._map(step.reservation)
            case Unmap():
                self._carve(step.start, step.start + step.length, Fate.UNMAPPED)
            case Protect():
                for piece in self._carve(step.start, step.start + step.length, Fate.PROTECTED):
                    self._insert(replace(piece, protection=step.protection))
            case Remap():
                old = self._carve(step.start, step.start + step.length, Fate.UNMAPPED)
                protection = old[0].protection if old else "rw-"
                anonymous = frozenset({"PRIVATE", "ANONYMOUS"})
                flags = self._ledger[old[0].of].flags if old else anonymous
                self._map(
                    Reservation(step.start, step.new_length, protection, flags - FIXED, step.given)
                )

    def account(self) -> Account:
        for piece in self._pieces:
            self._fates[piece.of][Fate.HELD] = None
        ledger = tuple(
            replace(each, became=tuple(fates))
            for each, fates in zip(self._ledger, self._fates, strict=True)
        )
        return Account(ledger, tuple(self._pieces))

    def _map(self, reservation: Reservation) -> None:
        self._ledger.append(reservation)
        self._fates.append({})
        if reservation.given is None:
            return
        end = reservation.given + _whole_pages(reservation.length)
        place = len(self._ledger) - 1
        # the calls of threads may be written down in another order than that of the kernel: only
        # MAP_FIXED falls upon what is there
        if self._carve(reservation.given, end, Fate.REPLACED) and "FIXED" in reservation.flags:
            self._ledger[place] = replace(reservation, within=True)
        self._insert(Piece(reservation.given, end, reservation.protection, place))

    def _carve(self, start: int, end: int, fate: Fate) -> list[Piece]:
        """Take [start, end) out of the layout; answer what was there."""
        end = start + _whole_pages(end - start)
        first = bisect_left(self._pieces, start, key=lambda piece: piece.end - 1)
        last = first
        while last < len(self._pieces) and self._pieces[last].start < end:
            last += 1
        rest: list[Piece] = []
        taken: list[Piece] = []
        for piece in self._pieces[first:last]:
            self._fates[piece.of][fate] = None
            if piece.start < start:
                rest.append(replace(piece, end=start))
            if piece.end > end:
                rest.append(replace(piece, start=end))
            taken.append(replace(piece, start=max(piece.start, start), end=min(piece.end, end)))
        self._pieces[first:last] = rest
        return taken

    def _insert(self, piece: Piece) -> None:
        at = bisect_left(self._pieces, piece.start, key=lambda each: each.start)
        self._pieces.insert(at, piece)


def _whole_pages(length: int) -> int:
    return -(-length // PAGE) * PAGE
