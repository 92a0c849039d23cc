"""Reads run directories of surveys into values, and joins several to one survey."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foothold_lab.harness.evidence import emulator
from foothold_lab.harness.evidence.mapping_calls import Call
from foothold_lab.harness.evidence.maps import MapsError, parse_maps
from foothold_lab.harness.evidence.program import TRACED
from foothold_lab.harness.evidence.strace import SubjectTrace, follow_subject, parse_trace
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import GuestReady, RunStarted
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.ledger import PAGE
from foothold_lab.harness.model.placement import split_placement
from foothold_lab.harness.model.verdict import Outcome, Result, Verdict
from foothold_lab.harness.run_directory import SURVEY_FILE, RunFiles, decode, read_events
from foothold_lab.harness.survey.digest import RequestGroup, group_requests
from foothold_lab.harness.threshold.bisection import Threshold

FILE = SURVEY_FILE
NONE = "none"  # the limits of a cell that has none
_SIZED = re.compile(
    r"rlimit_|ceiling=|memory="
)  # in limits: the thresholds and the imitation are about these
_LINES = 2  # lines kept of a program's output
_MOST = 64 << 10  # bytes of output that are searched
# a failing sanitizer prints its mappings: addresses, then a name
_MAPPING = re.compile(r"^\s*0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\s+(\S.*)?$")


@dataclass(frozen=True)
class SubjectInfo:
    """A subject as the page shows it: its title, and the version of its Debian package."""

    title: str
    version: str


@dataclass(frozen=True, kw_only=True)
class SurveyData:
    """What a survey found besides the run: the subjects, the thresholds, and for each threshold that
    was not found (guest, subject, reason).
    """

    subjects: dict[str, SubjectInfo]
    thresholds: tuple[Threshold, ...] = ()
    missing_thresholds: tuple[tuple[str, str, str], ...] = ()
    schema: int = 1


@dataclass(frozen=True, kw_only=True)
class SurveyedCell:
    """A cell: its verdict, the requests of its subject, and the first lines that it printed. `cut`
    means that the trace ended before the subject did, `traced` that a trace exists. `end` is the
    end of its address space, `last_mappings` the last known mappings there. Of a repeated cell this is the
    worst result; `varied` means that the results differed. `command` runs the cell alone.
    """

    verdict: Verdict
    requests: tuple[RequestGroup, ...]
    output_lines: tuple[str, ...] = ()
    trace_cut: bool = False
    varied: bool = False
    traced: bool = True
    address_space_end: int = 0
    last_mappings: tuple[tuple[int, int, str], ...] = ()
    command: tuple[str, ...] = ()

    @property
    def starts(self) -> bool:
        """Did the subject start?"""
        return self.verdict.observed is not None and self.verdict.observed.outcome is Outcome.STARTS


@dataclass(frozen=True, kw_only=True)
class Column:
    """A guest and the limits of its cells: one column of a table."""

    guest: str
    limits: str

    def __str__(self) -> str:
        return self.guest if self.limits == NONE else f"{self.guest}, {self.limits}"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All data of the page. Cells by (guest, limits, subject); guests in the order of the plan.

    `first` and `date` are the days of the first and the last run. `releases` has the kernels of guests
    that run another kernel than the host.
    """

    first: datetime.date
    date: datetime.date
    guests: Mapping[str, Facts]
    releases: Mapping[str, str]
    subjects: Mapping[str, SubjectInfo]
    cells: Mapping[tuple[str, str, str], SurveyedCell]
    thresholds: Sequence[Threshold] = ()
    missing_thresholds: Sequence[tuple[str, str, str]] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Each guest without a limit, then under those that do not make the address space smaller."""
        seen = dict.fromkeys((guest, limits) for guest, limits, _ in self.cells)
        kept = [
            Column(guest=guest, limits=limits)
            for guest, limits in seen
            if guest in self.guests and (limits == NONE or not _SIZED.search(limits))
        ]
        order = list(self.guests)
        kept.sort(key=lambda each: (order.index(each.guest), each.limits != NONE, each.limits))
        return tuple(kept)


@dataclass(frozen=True, kw_only=True)
class PlacedCell:
    """A surveyed cell, and where it ran."""

    guest: str
    limits: str
    subject: str
    seen: SurveyedCell


@dataclass(frozen=True, kw_only=True)
class SurveyPart:
    """What one run of a survey found. `at` is its start, in seconds since 1970. `unmeasured` has the
    reason of each guest that did not boot. Others as in Survey and SurveyData.
    """

    at: float
    subjects: dict[str, SubjectInfo]
    cells: tuple[PlacedCell, ...]
    guests: dict[str, Facts] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    thresholds: tuple[Threshold, ...] = ()
    missing_thresholds: tuple[tuple[str, str, str], ...] = ()
    unmeasured: dict[str, str] = field(default_factory=dict)


def of_farm(guest: str) -> bool:
    """Is a guest the machine of one worker of a cluster?"""
    return bool(split_placement(guest)[1])


def join(parts: Sequence[SurveyPart]) -> Survey:
    """Join what several runs found to one survey. Subjects with the same title become one."""
    about: dict[str, SubjectInfo] = {}
    for part in parts:
        about |= part.subjects
    same = _same(about)
    days = [datetime.datetime.fromtimestamp(each.at, datetime.UTC).date() for each in parts]
    guests = {guest: facts for part in parts for guest, facts in part.guests.items()}
    return Survey(
        first=min(days),
        date=max(days),
        guests=guests,
        releases={guest: name for part in parts for guest, name in part.releases.items()},
        subjects={name: _about(name, same, about) for name in dict.fromkeys(same.values())},
        cells={
            (each.guest, each.limits, same[each.subject]): each.seen
            for part in parts
            for each in part.cells
        },
        thresholds=[
            replace(each, subject=same[each.subject]) for p in parts for each in p.thresholds
        ],
        missing_thresholds=[
            (guest, same.get(name, name), why)
            for part in parts
            for guest, name, why in part.missing_thresholds
        ],
        unmeasured={
            guest: why
            for part in parts
            for guest, why in part.unmeasured.items()
            if guest not in guests
        },
    )


def latest(parts: Sequence[SurveyPart]) -> Iterator[SurveyPart]:
    """Yield the parts that have cells, without those cells and thresholds that a later part has."""
    kept: list[SurveyPart] = []
    cells: set[tuple[str, str, str]] = set()
    edges: set[tuple[str, str, str]] = set()
    for part in reversed(parts):
        found = tuple(each for each in part.cells if _place(each) not in cells)
        thresholds = tuple(each for each in part.thresholds if _searched(each) not in edges)
        cells |= set(map(_place, found))
        edges |= set(map(_searched, thresholds))
        if found or thresholds or part.unmeasured:
            kept.append(replace(part, cells=found, thresholds=thresholds))
    yield from reversed(kept)


def _place(cell: PlacedCell) -> tuple[str, str, str]:
    return cell.guest, cell.limits, cell.subject


def _searched(threshold: Threshold) -> tuple[str, str, str]:
    return threshold.guest, threshold.kind, threshold.subject


def part_of(directory: Path) -> SurveyPart:
    """Read a run directory. Raises UsageError."""
    files = RunFiles(directory)
    try:
        data = decode(files.read(FILE), SurveyData, str(directory / FILE))
    except OSError as error:
        raise UsageError(
            f"{directory} holds no survey: {error.strerror or error}", "give the directory of one"
        ) from error
    events = list(read_events(directory))
    started = next(each for each in events if isinstance(each, RunStarted))
    ready = {each.guest: each for each in events if isinstance(each, GuestReady)}
    cells, missing = _cells(files, started, ready)
    guests = dict.fromkeys(cell.guest for cell in started.cells)  # in the order of the plan
    booted = {guest: ready[guest] for guest in guests if guest in ready}
    return SurveyPart(
        at=started.at,
        subjects=data.subjects,
        cells=cells,
        guests={guest: each.facts for guest, each in booted.items()},
        releases={g: e.facts.release for g, e in booted.items() if e.own_kernel or of_farm(g)},
        thresholds=data.thresholds,
        missing_thresholds=data.missing_thresholds,
        unmeasured={guest: why for guest, why in missing.items() if guest not in ready},
    )


def _cells(
    files: RunFiles, started: RunStarted, ready: Mapping[str, GuestReady]
) -> tuple[tuple[PlacedCell, ...], dict[str, str]]:
    """Return the cells of a run, and why each guest that did not boot could not."""
    cells: dict[tuple[str, str, str], SurveyedCell] = {}
    missing: dict[str, str] = {}
    for cell in started.cells:
        guest = ready.get(cell.guest)
        page_size = guest.facts.page_size if guest else PAGE
        seen = _seen(files.beneath(f"cells/{cell.id}"), page_size)
        if seen is None:
            continue
        if guest is None:
            if seen.verdict.result is Result.UNSUPPORTED:
                missing[cell.guest] = seen.verdict.reason
                continue
        else:
            end = cell.limits.ceiling or guest.facts.task_size
            seen = replace(seen, address_space_end=end)
        seen = replace(seen, command=cell.command)
        key = (cell.guest, str(cell.limits), cell.subject)
        cells[key] = _worse(cells[key], seen) if key in cells else seen
    placed = (
        PlacedCell(guest=guest, limits=limits, subject=subject, seen=seen)
        for (guest, limits, subject), seen in cells.items()
    )
    return tuple(placed), missing


def _same(subjects: Mapping[str, SubjectInfo]) -> dict[str, str]:
    """Map each subject to the first with the same title: one runtime on several machines."""
    first: dict[str, str] = {}
    return {name: first.setdefault(about.title, name) for name, about in subjects.items()}


def _about(name: str, same: Mapping[str, str], subjects: Mapping[str, SubjectInfo]) -> SubjectInfo:
    """Describe a runtime, with its versions on other machines if they differ."""
    here = subjects[name]
    others = (
        f"{other.rpartition('-')[2]} {subjects[other].version}"
        for other in subjects
        if same[other] == name and subjects[other].version != here.version
    )
    elsewhere = ", ".join(others)
    return replace(here, version=here.version + (f" ({elsewhere})" if elsewhere else ""))


def _worse(one: SurveyedCell, other: SurveyedCell) -> SurveyedCell:
    varied = one.varied or one.starts is not other.starts
    return replace(other if one.starts else one, varied=varied)


def _seen(files: RunFiles, page_size: int) -> SurveyedCell | None:
    try:
        data = files.read("verdict.json")
    except OSError:
        return None  # an interrupted run did not reach this cell
    verdict: Verdict = decode(data, Verdict, f"{files.directory}/{files.folder}/verdict.json")
    verdict = replace(verdict, artefacts="")  # a path of the machine on which it ran
    subject_trace = _story(files, page_size)
    lines = _lines(files)
    started = verdict.observed and verdict.observed.outcome is Outcome.STARTS
    last_mappings = () if started else _listed(files, lines)  # they explain why it did not
    words = tuple(line.strip() for line in lines if any(map(str.isalnum, line)))[:_LINES]
    if subject_trace is None:
        return SurveyedCell(
            verdict=verdict,
            requests=(),
            output_lines=words,
            traced=False,
            last_mappings=last_mappings,
        )
    cut = bool(verdict.observed and TRACED in verdict.observed.evidence)
    return SurveyedCell(
        verdict=verdict,
        requests=group_requests(subject_trace),
        output_lines=words,
        trace_cut=cut,
        last_mappings=last_mappings,
    )


def _story(files: RunFiles, page_size: int) -> SubjectTrace | None:
    """Read the trace of strace or of the emulator; None if the cell was not traced."""
    with contextlib.suppress(FileNotFoundError):
        told = emulator.read_log(files.read("emulator.log"))
        pid = next((each.pid for each in told.entries if isinstance(each, Call)), 0)
        return emulator.follow_subject(told, pid)
    with contextlib.suppress(FileNotFoundError):
        read = parse_trace(files.read("strace"))
        pid = read.calls[0].pid if read.calls else 0
        return follow_subject(read, pid, page_size=page_size)
    return None


def _listed(files: RunFiles, lines: Sequence[str]) -> tuple[tuple[int, int, str], ...]:
    """Return the last mappings: from the kernel's maps, else from the program's own output."""
    with contextlib.suppress(OSError, MapsError):
        text = files.read("maps-end").decode(errors="backslashreplace")
        return tuple((each.start, each.end, each.name) for each in parse_maps(text))
    matches = (_MAPPING.match(line) for line in lines)
    return tuple((int(m[1], 16), int(m[2], 16), (m[3] or "").strip()) for m in matches if m)


def _lines(files: RunFiles) -> list[str]:
    lines = []
    for name in ("stdout", "stderr"):
        with contextlib.suppress(FileNotFoundError):
            start, _ = files.read_start(name, _MOST)
            lines += start.decode(errors="backslashreplace").splitlines()
    return lines
