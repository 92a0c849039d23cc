"""Laying two ledgers side by side: report against trace, trace against maps.

Where they differ, a sentence names both witnesses and quotes their lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass
from itertools import pairwise

from foothold_lab.harness.evidence.allocator_report import Call, Report
from foothold_lab.harness.evidence.maps import Mapping, is_covered
from foothold_lab.harness.evidence.strace import Story
from foothold_lab.harness.model.ledger import (
    LARGE,
    Account,
    Map,
    Piece,
    Remap,
    Reservation,
    Step,
    Unmap,
    flags_of,
    protection_of,
)

_LATE = 256  # calls: as many other threads may make while the maps are read
_MOST = 3  # sentences of one kind: the first says what is wrong, the rest is its echo


@dataclass(frozen=True)
class Matching:
    """A report laid upon a trace: what does not fit, and the moments of the one in the other.

    `moments` says how many of the trace's steps lie before a hold of the report.
    """

    against: tuple[str, ...]
    moments: Dictionary[str, int]


def steps_of(report: Report) -> tuple[Step, ...]:
    """Return the steps of a report's calls, in its order; what is none is left out."""
    steps = (_step(call) for call in report.calls)
    return tuple(step for step in steps if step is not None)


def match(report: Report, trace: Sequence[Step]) -> Matching:
    """Find each step of the report in the trace, in the same order.

    The trace may have more, for the subject's interpreter maps memory as well; but nothing large,
    hinted or executable of which the report does not say.
    """
    against: list[str] = []
    moments: dict[str, int] = {}
    at, told = 0, set()
    for place, call in enumerate(report.calls):
        moments.update(dict.fromkeys(report.held_after(place), at))
        step = _step(call)
        if step is None:
            continue
        found = next((n for n in range(at, len(trace)) if trace[n] == step), None)
        if found is None:
            near = next((each for each in trace[at:] if _alike(each, step)), None)
            shows = f"the trace shows {near.line}" if near else "the trace shows no such call"
            against.append(f"the report says {call}; {shows}")
            told.add(id(near))
            continue
        told.add(id(trace[found]))
        at = found + 1
    moments.update(dict.fromkeys(report.held_after(len(report.calls)), at))
    silent = [
        each
        for each in trace
        if isinstance(each, Map) and _matters(each.reservation) and id(each) not in told
    ]
    against[_MOST:] = []
    against += [
        f"the trace shows {each.line}; the report says nothing of it" for each in silent[:_MOST]
    ]
    return Matching(tuple(against), moments)


def compare(
    account: Account,
    maps: Sequence[Mapping],
    moment: str,
    unsure: Sequence[tuple[int, int]] = (),
) -> list[str]:
    """Hold what the trace says is mapped against what the kernel shows, both ways, but for ranges
    of which nobody can be sure.
    """

    def doubtful(one: Piece | Mapping) -> bool:
        return any(start < one.end and one.start < end for start, end in unsure)

    against = []
    for piece in account.layout:
        reservation = account.ledger[piece.of]
        if not _matters(reservation) or doubtful(piece):
            continue
        if not is_covered(maps, piece.start, piece.end, piece.protection):
            shown = [str(m) for m in maps if m.start < piece.end and piece.start < m.end]
            against.append(
                f"the trace leaves {_shown(piece)} ({reservation}); the maps at {moment} show "
                f"{'; '.join(shown[:_MOST]) or 'nothing there'}"
            )
    for before, mapping in pairwise((None, *maps)):
        assert mapping
        if before and before.name and before.end == mapping.start:
            continue  # the bss of a file: execve has mapped it
        if doubtful(mapping):
            continue
        large = mapping.anonymous and mapping.length >= LARGE
        if (large or mapping.is_heap) and not _accounted(account.layout, mapping):
            against.append(
                f"the maps at {moment} show {mapping}; the trace does not account for it"
            )
    return against[:_MOST]


def compare_late(story: Story, account: Account, maps: Sequence[Mapping], moment: str) -> list[str]:
    """Compare maps that were read close to the end of a story. While they are read, other threads
    go on: of what they then did, or were about to do, neither witness can be sure.
    """
    against = compare(account, maps, moment)
    if not against or not story.threads:
        return against
    if story.pending:
        return []
    late = [touched for step in story.steps[-_LATE:] for touched in _touched(step)]
    return compare(account, maps, moment, late)


def _touched(step: Step) -> Iterator[tuple[int, int]]:
    match step:
        case Map():
            given = step.reservation.given
            if given is not None:
                yield given, given + step.reservation.length
        case Remap():
            yield step.start, step.start + step.length
            yield step.given, step.given + step.new_length
        case _:
            yield step.start, step.start + step.length


def _matters(reservation: Reservation) -> bool:
    """Is it of the runtime, and not of the interpreter that it runs in?"""
    heap = reservation.anonymous and reservation.protection == "rwx"
    return reservation.tells or heap


def _step(call: Call) -> Step | None:
    line = str(call)
    if call.name == "mmap" and len(call.args) == 4:
        asked, length, protection, flags = call.args
        refused = -4096 < call.result < 0
        return Map(
            Reservation(
                asked,
                length,
                protection_of(protection),
                flags_of(flags),
                None if refused else call.result,
                _errno(-call.result) if refused else "",
            ),
            line,
        )
    if call.name == "munmap" and len(call.args) == 2 and call.result == 0:
        return Unmap(*call.args, line)
    return None


def _errno(number: int) -> str:
    from errno import errorcode

    return errorcode.get(number, str(number))


def _alike(one: Step, other: Step) -> bool:
    """Could the one be what the other speaks of?"""
    if isinstance(one, Map) and isinstance(other, Map):
        a, b = one.reservation, other.reservation
        return a.asked == b.asked or (a.length == b.length and a.given == b.given)
    return isinstance(one, Unmap) and isinstance(other, Unmap) and one.start == other.start


def _accounted(layout: Sequence[Piece], mapping: Mapping) -> bool:
    """Do pieces of this protection cover the mapping without a gap?"""
    at = mapping.start
    for piece in layout:
        if piece.start <= at < piece.end and piece.protection == mapping.permissions[:3]:
            at = piece.end
        if at >= mapping.end:
            return True
    return False


def _shown(piece: Piece) -> str:
    return f"{piece.start:x}-{piece.end:x} {piece.protection}"
