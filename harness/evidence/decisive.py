"""The decisive reservation of a program: the one whose place is the program's path.

docs/glossary.md has the rule in words. The allocator has its own (`arena_detection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foothold_lab.harness.evidence.maps import FOUR_GIB
from foothold_lab.harness.evidence.requests import is_own_request, requests_of
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.model.ledger import (
    AddressSpace,
    Answer,
    Ledger,
    Map,
    Reservation,
    ReservationState,
)
from foothold_lab.harness.model.verdict import ReservationPath


@dataclass(frozen=True)
class Decision:
    """The path of a program and the reservation that decides it."""

    path: ReservationPath
    reservation: Reservation

    def __str__(self) -> str:
        return f"{self.path}: {self.reservation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """An own request: the place of its step in the trace, and the thread that made it."""

    place: int
    thread: int
    one: Reservation

    @property
    def weight(self) -> tuple[bool, int]:
        """What asks for an address weighs more than what does not, then the length counts."""
        return bool(self.one.requested), self.one.length


def decide(subject: SubjectTrace, space: AddressSpace, *, died: bool) -> Decision | None:
    """Return the decisive reservation of a traced program; None if it made no own request.

    `space` is what replaying the trace gives.
    """
    own = list(_own_requests(subject, space))
    if not own:
        return None
    kept = [each for each in own if _was_kept(each.one)]
    lost = max((each for each in own if not _was_kept(each.one)), key=_weight, default=None)
    decisive = _heaviest(own, kept)
    if decisive is None or (died and lost and _died_of(lost, decisive, kept)):
        assert lost, "what is not kept is lost"
        return Decision(ReservationPath.REFUSED, lost.one)
    return _at_its_address(decisive.one)


def decide_from_maps(ledger: Ledger) -> Decision | None:
    """The same of an untraced program: its largest mapping, because maps show no requests."""
    own = [each for each in ledger if is_own_request(each)]
    return _at_its_address(max(own, key=lambda each: each.length)) if own else None


def _own_requests(subject: SubjectTrace, space: AddressSpace) -> list[_Request]:
    threads = [step.thread if isinstance(step, Map) else 0 for step in subject.steps]
    return [
        _Request(place=place, thread=threads[place], one=one)
        for place, one in requests_of(subject, space)
        if is_own_request(one)
    ]


def _weight(request: _Request) -> tuple[bool, int]:
    return request.weight


def _was_kept(one: Reservation) -> bool:
    """Was it granted, and not given back as a probe is: moved, or never accessible?"""
    if one.granted is None:
        return False
    probe = one.answer is Answer.MOVED or one.protection == "---"
    return not (probe and one.states == (ReservationState.UNMAPPED,))


def _was_used(one: Reservation) -> bool:
    """Was it accessible, or did the program make a part of it accessible later?"""
    later = {ReservationState.PROTECTED, ReservationState.REPLACED}
    return one.protection != "---" or bool(later & set(one.states))


def _heaviest(own: Sequence[_Request], kept: Sequence[_Request]) -> _Request | None:
    """Of what was used (of what was kept, if nothing was used): the largest that asks for an
    address, else the largest that was requested after an address had been asked for in vain, else
    the largest.
    """
    used = [each for each in kept if _was_used(each.one)] or kept
    asked = next((each.place for each in own if each.one.requested), len(own))
    addressed = [each for each in used if each.one.requested]
    instead = [each for each in used if each.place > asked]
    return max(addressed or instead or used, key=_weight, default=None)


def _died_of(lost: _Request, decisive: _Request, kept: Sequence[_Request]) -> bool:
    """Did it lose what weighs more, and did the same thread keep nothing after that?"""
    after = (each for each in kept if each.thread == lost.thread and each.place > lost.place)
    return lost.weight > decisive.weight and not any(after)


def _at_its_address(one: Reservation) -> Decision:
    low = (one.granted or 0) < FOUR_GIB
    return Decision(ReservationPath.LOW if low else ReservationPath.HIGH, one)
