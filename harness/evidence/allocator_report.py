"""The report of the allocator: JSON lines on its standard output.

A subject may be broken or hostile, so its report is bounded, and checked against a schema and the
order in which events can come. What is wrong with it becomes a finding, never an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from foothold_lab.harness.evidence.arena_detection import HINTS
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.verdict import ReservationPath

LONGEST_LINE = 64 << 10  # bytes
MOST_LINES = 200_000  # a traced run of the default workload has some hundreds
E = TypeVar("E", bound="ReportEvent")


class ReportEvent(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="event", forbid_unknown_fields=True
):
    """One line. Addresses and sizes in bytes."""


class Start(ReportEvent, frozen=True, tag="start"):
    """The subject runs. `end` is where its image ends, `kernel` real or model."""

    schema: Literal[1]
    pid: int
    policy: str
    workload: str
    pointer_size: int
    page_size: int
    end: int
    kernel: str
    python: str


class Reserved(ReportEvent, frozen=True, tag="reserved"):
    """The arena is reserved, with the bitmap below it, and the first heap is mapped."""

    path: ReservationPath
    base: int
    length: int
    bitmap: int
    bitmap_size: int
    arena_start: int
    arena_used: int
    arena_end: int


class Hold(ReportEvent, frozen=True, tag="hold"):
    """The subject waits at a checkpoint until its maps have been read."""

    at: Literal["reserved", "end"]


class Workload(ReportEvent, frozen=True, tag="workload"):
    """Everything was allocated, written, read back and freed: blocks, and their bytes."""

    name: str
    small: int
    large: int
    bytes: int
    verified: bool


class End(ReportEvent, frozen=True, tag="end"):
    """The subject is done."""

    path: ReservationPath
    arena_start: int
    arena_used: int
    arena_end: int
    stats: dict[str, int]


class Throw(ReportEvent, frozen=True, tag="throw"):
    """The runtime died by a throw. `printed` are the lines on stderr before it."""

    message: str
    printed: tuple[str, ...]
    status: int


class Exit(ReportEvent, frozen=True, tag="exit"):
    """The runtime exited without a throw, after it had printed the reason."""

    message: str
    printed: tuple[str, ...]
    status: int


class Killed(ReportEvent, frozen=True, tag="killed"):
    """A crash of the runtime is about to kill the process by this signal."""

    signal: int
    printed: tuple[str, ...]


class Broken(ReportEvent, frozen=True, tag="broken"):
    """Memory did not hold what was written to it."""

    message: str


class Call(ReportEvent, frozen=True, tag="call"):
    """A system call, if the subject reports them."""

    name: str
    args: tuple[int, ...]
    result: int

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{each:#x}' for each in self.args)}) = {self.result:#x}"


_Line = Start | Reserved | Hold | Workload | End | Throw | Exit | Killed | Broken | Call
_DECODER: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)
_DEATHS = frozenset({"throw", "exit", "killed"})
# the steps that may follow each step; after the last ones the report ends
_NEXT = {
    "": {"start"},
    "start": {"reserved"} | _DEATHS,
    "reserved": {"hold reserved", "workload", "broken"} | _DEATHS,
    "hold reserved": {"workload", "broken"} | _DEATHS,
    "workload": {"hold end", "end"} | _DEATHS,
    "hold end": {"end"} | _DEATHS,
    "end": set(),
    "throw": set(),
    "exit": set(),
    "killed": set(),
    "broken": set(),
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the subject reported, as far as it makes sense. `problems` say what does not.

    `calls` are its system calls, `marks` says how many of them came before each checkpoint.
    """

    events: tuple[ReportEvent, ...] = ()
    problems: tuple[Finding, ...] = ()
    calls: tuple[Call, ...] = ()
    marks: tuple[tuple[str, int], ...] = ()
    checkpoints: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        checkpoints = tuple(each.at for each in self.events if isinstance(each, Hold))
        object.__setattr__(self, "checkpoints", checkpoints)

    def one(self, kind: type[E]) -> E | None:
        """Return the event of this type, None without one."""
        return next((each for each in self.events if isinstance(each, kind)), None)

    def checkpoints_after(self, calls: int) -> list[str]:
        """Return the checkpoints that the subject reached after this number of calls."""
        return [checkpoint for checkpoint, count in self.marks if count == calls]

    @property
    def claims(self) -> dict[str, Reserved | End]:
        """What it says about its arena, by checkpoint."""
        events = {"reserved": self.one(Reserved), "end": self.one(End)}
        return {checkpoint: event for checkpoint, event in events.items() if event}

    @property
    def path(self) -> ReservationPath | None:
        """The path it claims last; refused if it died before any reservation."""
        for event in (self.one(End), self.one(Reserved)):
            if event:
                return event.path
        dead = any(isinstance(each, Throw | Exit | Killed) for each in self.events)
        return ReservationPath.REFUSED if dead else None


def read_report(stdout: bytes) -> Report:
    """Read a report up to the first line that makes no sense."""
    events: list[ReportEvent] = []
    problems: list[Finding] = []
    calls: list[Call] = []
    marks: list[tuple[str, int]] = []
    step = ""
    lines = stdout.split(b"\n")
    if lines.pop():
        problems.append(_malformed("The report ends within a line."))
    if len(lines) > MOST_LINES:
        problems.append(_malformed(f"The report has more than {MOST_LINES} lines."))
    for number, line in enumerate(lines[:MOST_LINES], start=1):
        try:
            event = _decode(line)
        except ValueError as error:
            problems.append(_malformed(f"Line {number} of the report: {error}."))
            break
        if isinstance(event, Call) and step:
            calls.append(event)
            continue
        name = _step(event)
        if name not in _NEXT[step]:
            after = f"after `{step}`" if step else "at the beginning"
            problems.append(_malformed(f"Line {number} of the report: `{name}` comes {after}."))
            break
        events.append(event)
        if isinstance(event, Hold):
            marks.append((event.at, len(calls)))
        step = name
    if not problems and _NEXT[step]:
        end = f"The report ends after `{step}`." if step else "The report is empty."
        problems.append(_malformed(end))
    return Report(
        events=tuple(events),
        problems=tuple(problems) + _inconsistencies(events),
        calls=tuple(calls),
        marks=tuple(marks),
    )


def _malformed(text: str) -> Finding:
    return Finding(Code.REPORT_MALFORMED, text)


def _decode(line: bytes) -> _Line:
    if len(line) > LONGEST_LINE:
        raise ValueError(f"it is {len(line)} bytes long")
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        shown = line[:120].decode(errors="backslashreplace")
        raise ValueError(f"{error}: {shown!r}") from error


def _step(event: _Line) -> str:
    name = str(type(event).__struct_config__.tag)
    return f"{name} {event.at}" if isinstance(event, Hold) else name


def _inconsistencies(events: list[ReportEvent]) -> tuple[Finding, ...]:
    """Return where two numbers of the report contradict each other."""
    report = Report(events=tuple(events))
    start, reserved, end = report.one(Start), report.one(Reserved), report.one(End)
    many_arenas = bool(start and start.policy in HINTS)
    wrong: list[str] = []
    if reserved:
        wrong += _wrong_reservation(reserved, many_arenas=many_arenas)
    if reserved and end:
        wrong += _wrong_end(reserved, end, many_arenas=many_arenas)
    workload = report.one(Workload)
    if workload and not (workload.verified and _is_enough(workload)):
        wrong.append("the workload is not verified, or allocated nothing")
    return tuple(
        Finding(Code.REPORT_INCONSISTENT, f"The report contradicts itself: {each}.")
        for each in wrong
    )


def _wrong_reservation(reserved: Reserved, *, many_arenas: bool) -> Iterator[str]:
    if reserved.base + reserved.length != reserved.arena_end:
        yield "the reservation does not end with the arena"
    bitmap_end = reserved.bitmap + reserved.bitmap_size
    if many_arenas:  # the bitmap of an arena lies anywhere
        if reserved.bitmap < reserved.arena_end and reserved.arena_start < bitmap_end:
            yield "the bitmap lies in the arena"
    elif bitmap_end != reserved.arena_start:
        yield "the bitmap does not end where the arena starts"
    if not reserved.arena_start <= reserved.arena_used <= reserved.arena_end:
        yield "arena_used lies outside of the arena"


def _wrong_end(reserved: Reserved, end: End, *, many_arenas: bool) -> Iterator[str]:
    if reserved.arena_start != end.arena_start and not many_arenas:
        yield "the arena has moved"  # of many, another may lie before the first
    if not end.arena_start <= end.arena_used <= end.arena_end:
        yield "at the end, arena_used lies outside of the arena"
    if end.path != reserved.path and end.path is not ReservationPath.LOW_GROWN:
        yield f"the path changes from {reserved.path} to {end.path}"


def _is_enough(workload: Workload) -> bool:
    """Did it allocate? Only `none` may allocate nothing; the default needs blocks of both kinds."""
    if workload.name == "default":
        return workload.small > 0 and workload.large > 0
    return workload.name == "none" or workload.small + workload.large > 0
