"""The layout of the drawing of an address space. Numbers only: a template draws them.

The axis is logarithmic, because small addresses (4 MiB) and large ones (128 TiB) matter. All
drawings of a run have the same axis, so that they can be compared by eye. Each kind of mapping has
its own lane: on such an axis, libraries and stack of a process of 47 bits are one point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2

from foothold_lab.harness.html_report.space import Arena, RegionKind, Segment
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.ledger import FIXED, Answer, Ledger, Reservation
from foothold_lab.harness.model.limits import Range
from foothold_lab.harness.model.sizes import format_size

WIDTH = 1000.0
LEFT, RIGHT = 104.0, 988.0  # of the plot; the names of lanes stand before it
LOWEST = 12  # the axis begins at 2^12: the page below can never be mapped
_MARGIN = 0.6  # of a power of two behind the largest task size: the range beyond must be visible
_TICKS = 4  # powers of two from tick to tick
_RULER, _ROW, _LANE, _GAP, _FOOT, _ZOOM = 26.0, 38.0, 24.0, 10.0, 20.0, 64.0
_THIN = 4.0  # the least width of a block
_APART = 250.0  # labels closer than this become one
_BESIDE = 40.0  # similar requests whose ends are closer than this are one arrow
MAX_REQUESTS = 6
_LANES = {
    "runtime": (RegionKind.ARENA, RegionKind.BITMAP, RegionKind.RESERVED, RegionKind.LARGE),
    "program": (RegionKind.IMAGE, RegionKind.HEAP),
    "libraries": (RegionKind.LIBRARY, RegionKind.FILE),
    "other": (RegionKind.OTHER,),
    "stack": (RegionKind.STACK, RegionKind.KERNEL),
}


@dataclass(frozen=True)
class Axis:
    """Maps addresses to positions: 2^12 at the left, 2^`highest` (not a whole number) at the right."""

    highest: float

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> Axis:
        """Make an axis that shows all these address spaces."""
        widest = max((each.task_size for each in facts), default=1 << 47)
        return cls(log2(max(widest, 2 << LOWEST)) + _MARGIN)

    def x(self, address: int) -> float:
        """Return the position of an address. Addresses beyond the axis are at its ends."""
        power = min(max(log2(max(address, 1)), LOWEST), self.highest)
        return LEFT + (power - LOWEST) / (self.highest - LOWEST) * (RIGHT - LEFT)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A coloured box with a tooltip."""

    kind: str
    x: float
    width: float
    title: str


@dataclass(frozen=True)
class Label:
    """A text at a position. `anchor` is the end of the text at that position."""

    x: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Lane:
    """Blocks of related kinds, side by side."""

    name: str
    y: float
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """An arrow from the requested address to the given one. None means no address. `width` is the length
    of the requested range.
    """

    y: float
    asked: float | None
    given: float | None
    width: float
    answer: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, kw_only=True)
class Hatch:
    """A hatched range, from top to bottom, where nothing can be mapped."""

    kind: str
    x: float
    width: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Zoom:
    """The reservation of the runtime on a linear axis. `left` and `right` are its ends in the lanes
    above.
    """

    y: float
    left: float
    right: float
    blocks: tuple[Block, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The whole drawing. `floor` is the end of the lanes."""

    height: float
    floor: float
    hatches: tuple[Hatch, ...]
    end: Label
    requests: tuple[Request, ...]
    more: int
    lanes: tuple[Lane, ...]
    zoom: Zoom | None


def draw(
    axis: Axis,
    facts: Facts,
    space: Sequence[Segment],
    ledger: Ledger,
    arena: Arena | None = None,
    occupied: Sequence[Range] = (),
) -> Drawing:
    """Draw one address space: its mappings and the requests for addresses."""
    asked = _grouped(axis, [each for each in ledger if each.notable and not each.nested])
    requests = tuple(
        _request(axis, each, more, _RULER + number * _ROW)
        for number, (each, more) in enumerate(asked[:MAX_REQUESTS])
    )
    top = _RULER + len(requests) * _ROW + _GAP
    lanes = tuple(_lanes(axis, space, top))
    floor = top + len(lanes) * _LANE
    zoom = _zoom(axis, space, arena, floor + _FOOT) if arena else None
    return Drawing(
        height=floor + _FOOT + (_ZOOM if zoom else 0),
        floor=floor,
        hatches=tuple(_hatches(axis, facts, occupied)),
        end=_end(axis, facts),
        requests=requests,
        more=max(0, len(asked) - MAX_REQUESTS),
        lanes=lanes,
        zoom=zoom,
    )


def rounded_size(size: int) -> str:
    """Write a size with three digits: 5.8M, 640M."""
    for unit, bits in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if size >= 1 << bits:
            return f"{size / (1 << bits):.3g}{unit}" if size >> bits < 1000 else format_size(size)
    return str(size)


def ticks(axis: Axis) -> Iterator[Label]:
    """Yield the marks of the axis, one for each factor of 16."""
    for power in range(LOWEST, int(axis.highest) + 1, _TICKS):
        yield Label(axis.x(1 << power), format_size(1 << power), "middle")


def _end(axis: Axis, facts: Facts) -> Label:
    x = axis.x(facts.task_size)
    anchor = "start" if x < (LEFT + RIGHT) * 0.7 else "end"
    return Label(x, f"task size {facts.task_size:#x}", anchor)


def _hatches(axis: Axis, facts: Facts, occupied: Sequence[Range]) -> Iterator[Hatch]:
    def hatch(kind: str, start: int, end: int, title: str) -> Hatch:
        x = axis.x(start)
        return Hatch(kind=kind, x=x, width=max(axis.x(end) - x, _THIN / 2), title=title)

    yield hatch("below", 1, facts.lowest, f"nothing can be mapped below {facts.lowest:#x}")
    yield hatch(
        "beyond",
        facts.task_size,
        1 << 64,
        f"nothing exists beyond the task size {facts.task_size:#x}",
    )
    for each in occupied:
        yield hatch(
            "occupied", each.start, each.end, f"occupied before the program started: {each}"
        )


def _grouped(axis: Axis, asked: Sequence[Reservation]) -> list[tuple[Reservation, int]]:
    """Group similar requests, and count the others of each group. A heap that grows piece by piece is
    one group, and so are repeated requests with the same answer.
    """
    groups: dict[tuple[object, ...], tuple[Reservation, int]] = {}
    for each in asked:
        places = (each.requested or 0, each.granted or 0)
        near = tuple(round(axis.x(place) / _BESIDE) for place in places)
        size = None if each.answer is Answer.HONOURED else each.length
        first, more = groups.get(key := (each.answer, each.protection, size, near), (each, -1))
        groups[key] = (first, more + 1)
    return list(groups.values())


def _request(axis: Axis, one: Reservation, more: int, y: float) -> Request:
    asked = axis.x(one.requested) if one.requested else None
    given = axis.x(one.granted) if one.granted is not None else None
    what = f"{rounded_size(one.length)} {one.protection}"
    how = "exactly " if one.flags & FIXED else ""
    where = f"{how}at {one.requested:#x}" if one.requested else "anywhere"
    again = f", and {more} more nearby" if more else ""
    labels: tuple[Label, ...]
    if one.answer is Answer.REFUSED:
        there = LEFT if asked is None else asked
        labels = (_label(there, f"{what} {where}: refused, {one.errno}{again}"),)
    elif one.answer is Answer.MOVED and asked is not None and given is not None:
        moved = f"moved to {one.granted:#x}{again}"
        if abs(asked - given) < _APART:
            labels = (_label(min(asked, given), f"{what} {where}: {moved}"),)
        else:
            labels = (_label(asked, f"{what} {where}"), _label(given, moved))
    else:
        there = given if given is not None else LEFT
        told = "given" if one.answer is Answer.HONOURED else f"given {one.granted:#x}"
        labels = (_label(there, f"{what} {where}: {told}{again}"),)
    reach = axis.x((one.requested or 0) + one.length) - asked if asked is not None else 0.0
    return Request(
        y=y, asked=asked, given=given, width=reach, answer=one.answer.value, labels=labels
    )


def _label(x: float, text: str) -> Label:
    """Let a text start at a position, or end there if the plot ends too soon."""
    return Label(x, text) if x < (LEFT + RIGHT) / 2 else Label(x, text, "end")


def _lanes(axis: Axis, space: Sequence[Segment], top: float) -> Iterator[Lane]:
    y = top
    for name, kinds in _LANES.items():
        blocks = tuple(
            _block(each, axis.x(each.start), axis.x(each.end))
            for each in space
            if each.kind in kinds and log2(max(each.start, 1)) < axis.highest
        )
        if blocks:
            yield Lane(name, y, blocks)
            y += _LANE


def _block(one: Segment, start: float, end: float) -> Block:
    width = max(end - start, _THIN)
    how = f"{rounded_size(one.mapped)} {' '.join(one.protections)}"
    title = f"{one.kind}: {one.start:#x}-{one.end:#x}, {how}"
    return Block(kind=one.kind.value, x=min(start, RIGHT - width), width=width, title=title)


def _zoom(axis: Axis, space: Sequence[Segment], arena: Arena, y: float) -> Zoom | None:
    length = arena.end - arena.base
    if length <= 0:
        return None

    def x(address: int) -> float:
        return LEFT + (address - arena.base) / length * (RIGHT - LEFT)

    inside = [each for each in space if arena.base <= each.start and each.end <= arena.end]
    blocks = tuple(_block(each, x(each.start), x(each.end)) for each in inside)
    bitmap, heap = arena.start - arena.base, arena.end - arena.start
    used = f"{rounded_size(arena.used - arena.start)} used"
    labels = (
        Label(LEFT, f"{arena.base:#x}: bitmap, {rounded_size(bitmap)}"),
        Label(
            max(x(arena.start), LEFT + 230),
            f"{arena.start:#x}: arena, {rounded_size(heap)}, {used}",
        ),
        Label(RIGHT, f"{arena.end:#x}", "end"),
    )
    return Zoom(y=y, left=axis.x(arena.base), right=axis.x(arena.end), blocks=blocks, labels=labels)
