"""The requests of a program for addresses, shortened to those that matter.

A program may repeat a refused request ten thousand times. Similar requests that follow one another
become one group, with their number, the first one and the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from foothold_lab.harness.evidence.requests import Reactions, requests_of
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.model.ledger import (
    FIXED,
    LARGE,
    AddressSpace,
    Answer,
    Reservation,
    ReservationState,
    replay,
)
from foothold_lab.harness.model.sizes import format_size

_MAIN = 3  # wishes shown of each kind
_ARENAS = (64 << 20, 128 << 20)  # of glibc, one a thread: HEAP_MAX_SIZE in malloc/arena.c


@dataclass(frozen=True, kw_only=True)
class RequestGroup:
    """A series of similar requests: the first, the last, and their number. `refused` and `moved`
    count those that the kernel refused (with `errno`) or moved (the first time to `given`).

    `occupied_before` counts the addresses that the program found taken (EEXIST) before. `then` is the
    reaction to the last answer, if the request was not granted.
    """

    first: Reservation
    last: Reservation
    count: int = 1
    refused: int = 0
    moved: int = 0
    errno: str = ""
    given: int | None = None
    occupied_before: int = 0
    then: str = ""

    @property
    def granted(self) -> bool:
        """Did the kernel grant all requests, at the addresses asked for?"""
        return not (self.refused or self.moved)

    @property
    def exact(self) -> bool:
        """Do the requests insist on the address (MAP_FIXED or MAP_FIXED_NOREPLACE)?"""
        return bool(self.first.flags & FIXED)

    @property
    def asked(self) -> str:
        """Describe the requests: `64M at 0xc000000000, and 63 times more up to 0x3fc…`."""
        size, least = _size(self.first), _size(self.last)
        where = "anywhere"
        if self.first.requested:
            where = f"at {'exactly ' if self.exact else ''}{self.first.requested:#x}"
        parts = [f"{size} {where}"]
        if self.count > 1:
            again = f"and {self.count - 1:,} time{'s' * (self.count > 2)} more"
            if self.last.requested and self.last.requested != self.first.requested:
                again += f", at last at {self.last.requested:#x}"
            parts.append(again if size == least else f"{again} for {least}")
        if self.occupied_before:
            parts.append(f"the {_ordinal(self.occupied_before + 1)} place that it tried")
        return ", ".join(parts)

    @property
    def answered(self) -> str:
        """Describe the answers of the kernel."""
        if self.granted:
            return "that" if self.first.requested else f"{self.first.granted or 0:#x}"
        if not self.moved:
            return f"nothing ({self.errno})"
        if not self.refused:
            return f"{self.given or 0:#x}"
        return (
            f"nothing ({self.errno}) {self.refused} times, {self.given or 0:#x} {self.moved} times"
        )


def group_requests(subject_trace: SubjectTrace) -> tuple[RequestGroup, ...]:
    """Return the wishes of a subject_trace, in order."""
    found: list[RequestGroup] = []
    for one in _telling(
        subject_trace, replay(subject_trace.steps, page_size=subject_trace.page_size)
    ):
        before = found[-1] if found else None
        if search := next((each for each in found if _is_search(each, one)), None):
            found.remove(search)
            found.append(replace(one, occupied_before=search.count))
        elif before and _alike(before, one):
            found[-1] = replace(
                before,
                last=one.last,
                count=before.count + 1,
                then=one.then,
                refused=before.refused + one.refused,
                moved=before.moved + one.moved,
                errno=before.errno or one.errno,
                given=before.given or one.given,
            )
        else:
            found.append(one)
    return tuple(found)


def main_requests(of: Sequence[RequestGroup]) -> tuple[RequestGroup, ...]:
    """Choose the most important wishes, in order: the first that were not granted, the largest that
    ask for an address, the largest of all.
    """
    lasting = [each for each in of if each.last.states != (ReservationState.UNMAPPED,)]
    largest = sorted(lasting, key=lambda each: -each.first.length)
    hinted = [each for each in largest if each.first.requested]
    denied = [each for each in of if not each.granted]
    chosen = {id(each) for each in (*denied[:_MAIN], *hinted[:_MAIN], *largest[:1])}
    return tuple(each for each in of if id(each) in chosen)


def _telling(subject_trace: SubjectTrace, address_space: AddressSpace) -> Iterator[RequestGroup]:
    """Yield a group for each of the program's own requests that is large or has an address."""
    arenas = [each for each in address_space.ledger if _is_arena(each)]
    reactions = Reactions(subject_trace)
    for at, one in requests_of(subject_trace, address_space):
        moved_by_mremap = one.requested is None
        if (
            moved_by_mremap
            or not one.notable
            or one.nested
            or one in arenas
            or _is_next_to(one, arenas)
        ):
            continue
        refused, moved = one.answer is Answer.REFUSED, one.answer is Answer.MOVED
        yield RequestGroup(
            first=one,
            last=one,
            count=1,
            refused=int(refused),
            moved=int(moved),
            errno=one.errno,
            given=one.granted if moved else None,
            occupied_before=0,
            then=reactions.describe(at, one) if refused or moved else "",
        )


def _is_arena(one: Reservation) -> bool:
    """Is it glibc's arena for the malloc of a thread?"""
    wanted = one.protection == "---" and not one.flags & FIXED and not one.requested
    return wanted and one.length in _ARENAS and ReservationState.PROTECTED in one.states


def _is_next_to(one: Reservation, arenas: Sequence[Reservation]) -> bool:
    """Is it a request for another arena, at the unused half of an earlier one?"""
    near = any(
        each.granted <= (one.requested or 0) <= each.granted + each.length
        for each in arenas
        if each.granted is not None
    )
    return near and one.hinted and one.length in _ARENAS


def _alike(one: RequestGroup, other: RequestGroup) -> bool:
    a, b = one.last, other.first
    if (a.protection, one.exact, bool(a.requested)) != (
        b.protection,
        other.exact,
        bool(b.requested),
    ):
        return False
    if one.granted or other.granted:
        return one.granted and other.granted and a.length == b.length
    return bool(a.requested)


def _is_search(one: RequestGroup, other: RequestGroup) -> bool:
    """Did the program only search for a free address, and find one?"""
    taken = one.errno == "EEXIST" and one.refused == one.count
    return taken and other.granted and other.exact and one.last.length == other.first.length


def _size(one: Reservation) -> str:
    """Return a large size with three digits, since 1073741832K is hard to read."""
    if one.length < LARGE:
        return format_size(one.length)
    size: float = one.length >> 20
    for unit, most in (("M", 10_000), ("G", 1000), ("T", 1 << 30)):
        if size < most:
            return f"{size:.0f}{unit}" if size >= 100 else f"{size:.3g}{unit}"
        size /= 1024
    raise AssertionError("no address space is as large")


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"
