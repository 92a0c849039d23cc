"""Describes what a program requested with mmap(2), and how it reacted to the kernel's answers."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.model.ledger import (
    AddressSpace,
    Answer,
    Map,
    Remap,
    Reservation,
    ReservationState,
    Unmap,
)

MOST_SHOWN = 12  # requests in a line of evidence


def requests_of(subject: SubjectTrace, space: AddressSpace) -> Iterator[tuple[int, Reservation]]:
    """Return each reservation that the program requested with mmap(2), with the place of its step
    in the trace. `space` is what replaying the trace gives.
    """
    entries = iter(space.ledger)  # one for each Map and Remap, in order
    for place, step in enumerate(subject.steps):
        if isinstance(step, Map):
            yield place, next(entries)
        elif isinstance(step, Remap):
            next(entries)


def is_own_request(reservation: Reservation) -> bool:
    """Is it notable, and not a part of what the program had reserved already?"""
    return reservation.notable and not reservation.nested


def describe_requests(subject: SubjectTrace, space: AddressSpace) -> str:
    """Describe the first own requests of a program and its reactions; empty if it made none."""
    own = ((place, one) for place, one in requests_of(subject, space) if is_own_request(one))
    shown = list(islice(own, MOST_SHOWN))
    more = sum(1 for _ in own)
    reactions = None
    words = []
    for place, one in shown:
        if one.answer in (Answer.MOVED, Answer.REFUSED):
            reactions = reactions or Reactions(subject)
            words.append(f"{one}, {reactions.describe(place, one)}")
        else:
            words.append(f"{one}")
    return "; ".join([*words, f"and {more} more"] if more else words)


class Reactions:
    """Describes what a program did after a request that was refused or moved.

    Takes time in proportion to the trace once, then a logarithm of it for each description.
    """

    def __init__(self, subject: SubjectTrace) -> None:
        self._ending = subject.ending
        self._places: list[int] = []  # of the program's own requests
        self._lengths: list[int] = []  # of the same, in bytes
        unmaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, step in enumerate(subject.steps):
            if isinstance(step, Unmap):
                unmaps[step.start].append((place, step.length))
            elif isinstance(step, Map) and _is_alone(step.reservation):
                self._places.append(place)
                self._lengths.append(step.reservation.length)
        self._unmaps = {start: _Unmaps(each) for start, each in unmaps.items()}

    def describe(self, place: int, reservation: Reservation) -> str:
        """Describe the reaction to the request whose step has this place in the trace.

        `reservation` is its entry in the ledger, which says what became of it.
        """
        back = self._gave_back(place, reservation)
        if reservation.answer is Answer.MOVED and not back:
            return "took it"
        then = self._next(place, reservation, back=back)
        return f"gave it back, and {then}" if back else then

    def _next(self, place: int, reservation: Reservation, *, back: bool) -> str:
        following = bisect_right(self._places, place)
        if following == len(self._places):
            died = self._ending and self._ending != "exited with 0"
            return "gave up" if died else "went on without"
        length = self._lengths[following]
        if length < reservation.length:
            return "asked for less"
        if length > reservation.length:
            return "asked for more" if back else "went on"
        return "tried elsewhere"

    def _gave_back(self, place: int, reservation: Reservation) -> bool:
        """Did the program unmap all of it? Many programs request too much and unmap the part that
        is not aligned: that does not count.
        """
        if reservation.protection == "---" and reservation.states == (ReservationState.UNMAPPED,):
            return True
        unmaps = self._unmaps.get(reservation.granted) if reservation.granted else None
        return unmaps is not None and unmaps.longest_after(place) >= reservation.length


class _Unmaps:
    """The calls that unmapped a range from one address, as (place, length) in order."""

    def __init__(self, calls: Sequence[tuple[int, int]]) -> None:
        self._places = [place for place, _ in calls]
        lengths = [length for _, length in reversed(calls)]
        self._longest = list(accumulate(lengths, max))[::-1]  # from each call to the last

    def longest_after(self, place: int) -> int:
        """Return the greatest length that a later step unmapped, 0 if none did."""
        later = bisect_right(self._places, place)
        return self._longest[later] if later < len(self._longest) else 0


def _is_alone(reservation: Reservation) -> bool:
    """Is it an own request, as far as that is known before the trace is replayed?"""
    return reservation.notable and "FIXED" not in reservation.flags
