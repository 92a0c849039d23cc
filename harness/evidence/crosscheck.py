"""Compares two witnesses: the report with the trace, the trace with the maps.

Each difference is a finding that names both witnesses and quotes them. All comparisons take time in
proportion to what is compared, times a logarithm.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from errno import errorcode
from itertools import islice, pairwise

from foothold_lab.harness.evidence.allocator_report import Call, Report
from foothold_lab.harness.evidence.maps import MappedRange, RangeIndex
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.ledger import (
    LARGE,
    UNKNOWN_PROTECTION,
    AddressSpace,
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
_MOST = 3  # findings of one kind: the first says what is wrong, the rest follow from it


@dataclass(frozen=True)
class ReportMatch:
    """A report compared with a trace.

    `checkpoints` says how many steps of the trace come before each checkpoint of the report.
    """

    findings: tuple[Finding, ...]
    checkpoints: Mapping[str, int]


def steps_of(report: Report) -> tuple[Step, ...]:
    """Return the calls of a report as steps, in its order. Calls that change nothing are left out."""
    steps = (_step(call) for call in report.calls)
    return tuple(step for step in steps if step is not None)


def match_report(report: Report, trace: Sequence[Step]) -> ReportMatch:
    """Find each step of the report in the trace, in the same order.

    The trace may have more steps, because the interpreter of the subject maps memory as well, but no
    large, hinted or executable mapping that the report does not list.
    """
    findings: list[Finding] = []
    checkpoints: dict[str, int] = {}
    steps = [_step(call) for call in report.calls]
    index = _StepIndex(trace, steps)
    at, listed = 0, set[int]()
    for place, (call, step) in enumerate(zip(report.calls, steps, strict=True)):
        checkpoints.update(dict.fromkeys(report.checkpoints_after(place), at))
        if step is None:
            continue
        found = index.equal(step, at)
        if found is not None:
            listed.add(found)
            at = found + 1
            continue
        near = index.similar(step, at)
        if near is not None:
            listed.add(near)
        if len(findings) < _MOST:
            shows = "no such call" if near is None else f"`{trace[near].line}`"
            text = f"The report lists `{call}`; the trace shows {shows}."
            findings.append(Finding(Code.REPORT_VS_TRACE, text))
    checkpoints.update(dict.fromkeys(report.checkpoints_after(len(report.calls)), at))
    unlisted = (
        each
        for place, each in enumerate(trace)
        if isinstance(each, Map) and place not in listed and _is_the_runtimes(each.reservation)
    )
    findings += [
        Finding(
            Code.REPORT_VS_TRACE, f"The trace shows `{each.line}`; the report does not list it."
        )
        for each in islice(unlisted, _MOST)
    ]
    return ReportMatch(tuple(findings), checkpoints)


class _StepIndex:
    """Finds the first step of a trace, from a place on, that is equal or similar to another, which
    must be one of those that are `wanted`.
    """

    def __init__(self, trace: Sequence[Step], wanted: Sequence[Step | None]) -> None:
        self._places: dict[Hashable, list[int]] = {
            key: [] for step in wanted if step for key in (step, *_similarities(step))
        }
        for place, step in enumerate(trace):
            for key in (step, *_similarities(step)):
                if key in self._places:
                    self._places[key].append(place)

    def equal(self, step: Step, start: int) -> int | None:
        return self._first(step, start)

    def similar(self, step: Step, start: int) -> int | None:
        found = (self._first(key, start) for key in _similarities(step))
        return min((place for place in found if place is not None), default=None)

    def _first(self, key: Hashable, start: int) -> int | None:
        places = self._places[key]
        at = bisect_left(places, start)
        return places[at] if at < len(places) else None


def _similarities(step: Step) -> tuple[Hashable, ...]:
    """Return what two steps have in common if one may be what the other means."""
    if isinstance(step, Map):
        one = step.reservation
        return ("requested", one.requested), ("size", one.length, one.granted)
    return (("unmapped", step.start),) if isinstance(step, Unmap) else ()


def compare_with_maps(
    space: AddressSpace,
    maps: Sequence[MappedRange],
    checkpoint: str,
    unsure: Sequence[tuple[int, int]] = (),
) -> list[Finding]:
    """Compare what the trace leaves mapped with what the kernel shows, in both directions.

    `unsure` are ranges [start, end) to leave out. Returns the first few findings.
    """
    doubts = RangeIndex(_merged(unsure))
    differences = (
        *islice(_missing(space, maps, checkpoint, doubts), _MOST),
        *islice(_unaccounted(space, maps, checkpoint, doubts), _MOST),
    )
    return [Finding(Code.MAPS_VS_TRACE, text) for text in differences[:_MOST]]


def compare_with_late_maps(
    trace: SubjectTrace, space: AddressSpace, maps: Sequence[MappedRange], checkpoint: str
) -> list[Finding]:
    """Compare maps that were read close to the end of a trace.

    While they are read, other threads go on. What these did then, or were about to do, is left out.
    """
    findings = compare_with_maps(space, maps, checkpoint)
    if not findings or not trace.threads:
        return findings
    if trace.pending:
        return []
    late = [touched for step in trace.steps[-_LATE:] for touched in _touched(step)]
    return compare_with_maps(space, maps, checkpoint, late)


@dataclass(frozen=True)
class _Doubt:
    """A range of addresses [start, end) of which no witness can be sure."""

    start: int
    end: int


def _merged(ranges: Sequence[tuple[int, int]]) -> list[_Doubt]:
    merged: list[_Doubt] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1].end:
            end = max(end, merged[-1].end)
            start = merged.pop().start
        merged.append(_Doubt(start, end))
    return merged


def _missing(
    space: AddressSpace,
    maps: Sequence[MappedRange],
    checkpoint: str,
    doubts: RangeIndex[_Doubt],
) -> Iterator[str]:
    """Tell of each piece that the trace leaves mapped and the kernel does not show."""
    shown = RangeIndex(maps)
    implied = _reads_imply_exec(maps)
    counts = [_is_the_runtimes(reservation) for reservation in space.ledger]
    for piece in space.layout:
        if not counts[piece.place] or any(doubts.overlapping(piece.start, piece.end)):
            continue
        if piece.protection == UNKNOWN_PROTECTION:
            continue
        fits = functools.partial(_fits, piece, implied=implied)
        if not shown.cover(piece.start, piece.end, fits):
            there = islice(shown.overlapping(piece.start, piece.end), _MOST)
            yield (
                f"The trace leaves {piece.start:x}-{piece.end:x} {piece.protection} "
                f"({space.ledger[piece.place]}); the maps at `{checkpoint}` show "
                f"{'; '.join(map(str, there)) or 'nothing there'}."
            )


def _fits(piece: Piece, mapping: MappedRange, *, implied: bool) -> bool:
    """Does a mapping have the protection of a piece? `implied`: what is readable is executable."""
    seen, known = mapping.permissions[:3], piece.protection
    return seen == known or (implied and known[0] == "r" and seen == f"{known[:2]}x")


def _reads_imply_exec(maps: Sequence[MappedRange]) -> bool:
    """Is all that is readable executable, apart from mappings of the kernel's making?

    Then the program may have been executed with the personality READ_IMPLIES_EXEC: on x86 a program
    of 32 bits without PT_GNU_STACK (elf_read_implies_exec() in arch/x86/include/asm/elf.h).
    """
    readable = [each for each in maps if each.permissions[0] == "r" and each.name[:2] != "[v"]
    return bool(readable) and all(each.permissions[2] == "x" for each in readable)


def _unaccounted(
    space: AddressSpace,
    maps: Sequence[MappedRange],
    checkpoint: str,
    doubts: RangeIndex[_Doubt],
) -> Iterator[str]:
    """Tell of each large or executable mapping that the trace does not account for."""
    layout = RangeIndex(space.layout)
    implied = _reads_imply_exec(maps)
    for before, mapping in pairwise((None, *maps)):
        assert mapping
        if not mapping.anonymous or not (mapping.length >= LARGE or mapping.is_heap):
            continue
        if before and before.name and before.end == mapping.start:
            continue  # the bss of a file, which execve has mapped
        if any(doubts.overlapping(mapping.start, mapping.end)):
            continue
        if not layout.cover(mapping.start, mapping.end, _explains(mapping, implied=implied)):
            yield f"The maps at `{checkpoint}` show {mapping}; the trace does not account for it."


def _explains(mapping: MappedRange, *, implied: bool) -> Callable[[Piece], bool]:
    def explains(piece: Piece) -> bool:
        unknown = piece.protection == UNKNOWN_PROTECTION
        return unknown or _fits(piece, mapping, implied=implied)

    return explains


def _touched(step: Step) -> Iterator[tuple[int, int]]:
    match step:
        case Map():
            granted = step.reservation.granted
            if granted is not None:
                yield granted, granted + step.reservation.length
        case Remap():
            yield step.start, step.start + step.length
            yield step.new_start, step.new_start + step.new_length
        case _:
            yield step.start, step.start + step.length


def _is_the_runtimes(reservation: Reservation) -> bool:
    """Is it of the runtime under test, and not of the interpreter that runs it?"""
    if "ANONYMOUS" not in reservation.flags:
        return False
    return reservation.notable or reservation.protection == "rwx"


def _step(call: Call) -> Step | None:
    line = str(call)
    if call.name == "mmap" and len(call.args) == 4:
        requested, length, protection, flags = call.args
        refused = -4096 < call.result < 0
        reservation = Reservation(
            requested=requested,
            length=length,
            protection=protection_of(protection),
            flags=flags_of(flags),
            granted=None if refused else call.result,
            errno=errorcode.get(-call.result, str(-call.result)) if refused else "",
        )
        return Map(reservation, line)
    if call.name == "munmap" and len(call.args) == 2 and call.result == 0:
        return Unmap(*call.args, line)
    return None
