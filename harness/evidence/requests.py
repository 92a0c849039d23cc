"""Describes what a program requested with mmap(2), and how it reacted to the kernel's answers."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate

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
from foothold_lab.harness.model.sizes import format_size

MOST_SHOWN = 12  # groups of like requests in a line of evidence
_LAST_SHOWN = 5  # of those that were not granted, the last ones are always shown


def requests_of(subject: SubjectTrace, space: AddressSpace) -> Iterator[tuple[int, Reservation]]:
    """Return each reservation that the program requested with mmap(2) or got from mremap(2), with
    the place of its step in the trace. `space` is what replaying the trace gives.
    """
    entries = iter(space.ledger)  # one for each Map and Remap, in order
    for place, step in enumerate(subject.steps):
        if isinstance(step, Map | Remap):
            yield place, next(entries)


def is_own_request(reservation: Reservation) -> bool:
    """Is it notable, and not a part of what the program had reserved already?"""
    return reservation.notable and not reservation.nested


# reactions to a request that was moved and not given back
_TOOK = "took it"
_TOOK_AND_DIED = "took it, then died"
# and how they read after the state of the reservation, which says that it was kept
_AFTER_ITS_STATE = {_TOOK: "", _TOOK_AND_DIED: "then died"}


@dataclass(kw_only=True)
class _Group:
    """Like requests: the description of the first, and how many there are."""

    text: str
    length: int
    denied: bool
    count: int = 1
    last: Reservation | None = None

    def __str__(self) -> str:
        if not self.last:
            return self.text
        more = f"{self.text}, and {self.count - 1:,} more"
        if self.last.requested:
            more += f", the last at {self.last.requested:#x}"
        return more if self.last.length == self.length else f"{more} for {_size(self.last)}"


def describe_requests(subject: SubjectTrace, space: AddressSpace) -> str:
    """Describe the own requests of a program and its reactions; empty if it made none.

    Those that were refused or moved come first. Like ones are one group. If there are too many
    groups, the last refused and the largest granted ones are kept.
    """
    groups = _group(subject, space)
    denied = [each for each in groups if each.denied]
    granted = [each for each in groups if not each.denied]
    if len(denied) > MOST_SHOWN:
        denied = denied[: MOST_SHOWN - _LAST_SHOWN] + denied[-_LAST_SHOWN:]
    room = max(MOST_SHOWN - len(denied), 1)
    largest = {id(each) for each in nlargest(room, granted, key=lambda each: each.length)}
    shown = [*denied, *(each for each in granted if id(each) in largest)]
    more = sum(each.count for each in groups) - sum(each.count for each in shown)
    words = [str(each) for each in shown]
    return "; ".join([*words, f"and {more:,} more"] if more else words)


def _group(subject: SubjectTrace, space: AddressSpace) -> list[_Group]:
    """Group the own requests of a program, in the order of the last request of each group."""
    groups: dict[Hashable, _Group] = {}
    reactions = None
    for place, one in requests_of(subject, space):
        if not is_own_request(one):
            continue
        denied = one.answer in (Answer.MOVED, Answer.REFUSED)
        reaction = ""
        if denied:
            reactions = reactions or Reactions(subject)
            reaction = reactions.describe(place, one)
        alike = (one.answer, one.errno, one.protection, one.flags, one.states, reaction)
        key = (*alike, None if denied else one.length)
        if group := groups.pop(key, None):
            group.count, group.last = group.count + 1, one
        else:
            text = f"mremap: {one}" if one.requested is None else f"{one}"
            after = _AFTER_ITS_STATE.get(reaction, reaction)
            text = f"{text}, {after}" if after else text
            group = _Group(text=text, length=one.length, denied=denied)
        groups[key] = group
    return list(groups.values())


def _size(one: Reservation) -> str:
    return format_size(one.length) if one.length % 1024 == 0 else f"{one.length} bytes"


class Reactions:
    """Describes what a program did after a request that was refused or moved.

    Takes time in proportion to the trace once, then a logarithm of it for each description.
    """

    def __init__(self, subject: SubjectTrace) -> None:
        ended = subject.ending.removesuffix(" (core dumped)")
        # the harness ends with SIGKILL what still runs
        self._died = ended not in ("", "exited with 0", "killed by SIGKILL")
        self._own: dict[int, _Requests] = defaultdict(_Requests)  # by thread
        self._thread: dict[int, int] = {}  # by place
        unmaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, step in enumerate(subject.steps):
            if isinstance(step, Unmap):
                unmaps[step.start].append((place, step.length))
            elif isinstance(step, Map) and _is_alone(step.reservation):
                self._own[step.thread].add(place, step.reservation.length)
                self._thread[place] = step.thread
        self._unmaps = {start: _Unmaps(each) for start, each in unmaps.items()}

    def describe(self, place: int, reservation: Reservation) -> str:
        """Describe the reaction to the request whose step has this place in the trace.

        `reservation` is its entry in the ledger, which says what became of it.
        """
        back = self._gave_back(place, reservation)
        following = self._own[self._thread.get(place, 0)].after(place)
        if reservation.answer is Answer.MOVED and not back:
            return _TOOK_AND_DIED if self._died and following is None else _TOOK
        then = self._next(following, reservation, back=back)
        return f"gave it back, and {then}" if back else then

    def _next(self, following: int | None, reservation: Reservation, *, back: bool) -> str:
        """Describe the next request of the same thread, whose length is `following`."""
        if following is None:
            return "gave up" if self._died else "went on without"
        if following < reservation.length:
            return "asked for less"
        if following > reservation.length:
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


class _Requests:
    """The own requests of one thread, in order."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._lengths: list[int] = []

    def add(self, place: int, length: int) -> None:
        self._places.append(place)
        self._lengths.append(length)

    def after(self, place: int) -> int | None:
        """Return the length in bytes of the next request after a place, None without one."""
        following = bisect_right(self._places, place)
        return self._lengths[following] if following < len(self._places) else None


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
