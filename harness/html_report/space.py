"""The mappings of a subject, each with its purpose.

The source is the maps of the kernel, or the trace if no maps were read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import PurePosixPath

from foothold_lab.harness.evidence.allocator_report import End, Report, Reserved
from foothold_lab.harness.evidence.maps import MappedRange
from foothold_lab.harness.html_report.read import Evidence
from foothold_lab.harness.model.ledger import LARGE, AddressSpace


class RegionKind(StrEnum):
    """The purpose of a mapping."""

    ARENA = "arena"
    BITMAP = "bitmap"
    RESERVED = "reserved"
    LARGE = "large"
    IMAGE = "image"
    HEAP = "heap"
    LIBRARY = "library"
    FILE = "file"
    OTHER = "other"
    STACK = "stack"
    KERNEL = "kernel"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Neighbouring mappings of one kind, from `start` to `end`, possibly with gaps.

    `mapped` is in bytes, `count` is the number of mappings.
    """

    kind: RegionKind
    start: int
    end: int
    mapped: int
    protections: tuple[str, ...]
    names: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Arena:
    """The reservation of a runtime that writes a report: [base, end). It starts with the bitmap, the arena
    starts at `start`, and `used` is the end of the heap.
    """

    base: int
    bitmap: int
    start: int
    used: int
    end: int


_SCATTERED = frozenset(
    {
        RegionKind.LIBRARY,
        RegionKind.FILE,
        RegionKind.OTHER,
        RegionKind.KERNEL,
        RegionKind.STACK,
        RegionKind.IMAGE,
    }
)
_NEAR = 64 << 20  # bytes between mappings that are shown as one
_BSS = 1 << 20  # bytes; a larger mapping after a file is separate
_LIBRARY = re.compile(r"(^|/)(ld[-.]|lib)[^/]*\.so(\.|$)|\.so(\.[0-9.]+)?$")
_KERNEL = ("[vdso]", "[vvar", "[vsyscall", "[vectors]", "[sigpage]", "[uprobes]")


def arena_of(report: Report | None) -> Arena | None:
    """Return the arena that a report claims, or None if the claim is impossible."""
    reserved, end = (report.one(Reserved), report.one(End)) if report else (None, None)
    if not reserved:
        return None
    used = end.arena_used if end else reserved.arena_used
    one = Arena(
        base=reserved.base,
        bitmap=reserved.bitmap,
        start=reserved.arena_start,
        used=used,
        end=reserved.arena_end,
    )
    makes_sense = 0 <= one.base <= one.bitmap <= one.start <= one.used <= one.end < 1 << 63
    return one if makes_sense else None


def segments(evidence: Evidence) -> tuple[Segment, ...]:
    """Return all mappings at the last known checkpoint, in the order of addresses."""
    arena = arena_of(evidence.report)
    last = list(evidence.maps.values())[-1] if evidence.maps else None
    single = _of_maps(last, arena) if last else _of_trace(evidence.address_space)
    return tuple(_joined(single))


def _of_maps(mappings: Sequence[MappedRange], arena: Arena | None) -> Iterator[Segment]:
    code = {each.name for each in mappings if each.name.startswith("/") and "x" in each.permissions}
    before: Segment | None = None
    for each in mappings:
        kind = _kind(each, before, is_code=each.name in code)
        one = Segment(
            kind=kind,
            start=each.start,
            end=each.end,
            mapped=each.length,
            protections=(each.permissions[:3],),
        )
        if each.name.startswith("/"):
            one = replace(one, names=(PurePosixPath(each.name).name,))
        yield from _split(one, arena)
        before = one


def _kind(mapping: MappedRange, before: Segment | None, *, is_code: bool) -> RegionKind:
    name = mapping.name
    if name.startswith("[stack"):
        return RegionKind.STACK
    if name == "[heap]":
        return RegionKind.HEAP
    if name.startswith(_KERNEL):
        return RegionKind.KERNEL
    if _LIBRARY.search(name):
        return RegionKind.LIBRARY
    if name.startswith("/"):
        return RegionKind.IMAGE if is_code else RegionKind.FILE
    if mapping.length >= LARGE:
        return RegionKind.RESERVED if mapping.permissions.startswith("---") else RegionKind.LARGE
    follows = before is not None and before.end == mapping.start and before.names
    if follows and mapping.usable and mapping.length <= _BSS:
        assert before
        return before.kind
    return RegionKind.OTHER


def _of_trace(address_space: AddressSpace) -> Iterator[Segment]:
    for piece in address_space.layout:
        kind = RegionKind.LIBRARY
        if address_space.ledger[piece.place].anonymous:
            kind = RegionKind.OTHER
            if piece.end - piece.start >= LARGE:
                kind = RegionKind.RESERVED if piece.protection == "---" else RegionKind.LARGE
        size = piece.end - piece.start
        yield Segment(
            kind=kind,
            start=piece.start,
            end=piece.end,
            mapped=size,
            protections=(piece.protection,),
        )


def _split(one: Segment, arena: Arena | None) -> Iterator[Segment]:
    """Split a mapping at the borders of the arena, and name the parts."""
    if arena is None or one.names or one.end <= arena.base or arena.end <= one.start:
        yield one
        return
    seams = sorted({arena.base, arena.start, arena.end} | {one.start, one.end})
    for start, end in pairwise(at for at in seams if one.start <= at <= one.end):
        kind = one.kind
        if arena.base <= start < arena.end:
            kind = RegionKind.BITMAP if start < arena.start else RegionKind.ARENA
            kind = RegionKind.RESERVED if one.protections == ("---",) else kind
        yield replace(one, kind=kind, start=start, end=end, mapped=end - start)


def _joined(single: Iterable[Segment]) -> list[Segment]:
    """Join neighbouring mappings of one kind: the mappings of a loader are one thing to a reader."""
    joined: list[Segment] = []
    for one in single:
        near = _NEAR if one.kind in _SCATTERED else 0
        last = next((each for each in reversed(joined) if each.kind is one.kind), None)
        if last is None or one.start - last.end > near:
            joined.append(one)
            continue
        joined[joined.index(last)] = Segment(
            kind=one.kind,
            start=last.start,
            end=one.end,
            mapped=last.mapped + one.mapped,
            protections=tuple(dict.fromkeys(last.protections + one.protections)),
            names=tuple(dict.fromkeys(last.names + one.names)),
            count=last.count + one.count,
        )
    return sorted(joined, key=lambda each: each.start)
