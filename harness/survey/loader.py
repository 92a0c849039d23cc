"""A run's directory, read again as values."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from foothold_lab.harness.evidence import emulator
from foothold_lab.harness.evidence.maps import MapsError, parse_maps
from foothold_lab.harness.evidence.program import TRACED
from foothold_lab.harness.evidence.strace import Call, Story, parse_trace, story_of
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import AnyEvent, GuestReady, RunStarted
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Outcome, Result, Verdict
from foothold_lab.harness.survey.digest import Wish, wishes
from foothold_lab.harness.threshold.bisection import Threshold

FILE = "survey.json"  # beside run.json: what a run's own files do not say
_LINES = 2  # of what a program said before it died
_MOST = 64 << 10  # bytes of it that are looked at
# a sanitizer that gives up prints its own mappings, and after the addresses their names
_MAPPING = re.compile(r"^\s*0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\s+(\S.*)?$")


@dataclass(frozen=True)
class About:
    """A subject, for people: what it is called, and its version as Debian packages it."""

    title: str
    version: str


@dataclass(frozen=True)
class Found:
    """What was found beside the run: the subjects of the catalogue, the thresholds, and why one of
    these was not found, by guest and subject.
    """

    subjects: dict[str, About]
    thresholds: tuple[Threshold, ...] = ()
    unfound: tuple[tuple[str, str, str], ...] = ()
    schema: int = 1


@dataclass(frozen=True)
class Seen:
    """A cell: its verdict, what its subject wished for, and the first lines that it printed. `cut`
    says that the trace was ended before the subject was, `traced` that there is one at all. `end`
    is where its address space ends, `listed` what was mapped there last. If the same was asked more
    than once, the worst is what counts, and `varied` says that it was not always so.
    """

    verdict: Verdict
    wishes: tuple[Wish, ...]
    words: tuple[str, ...] = ()
    cut: bool = False
    varied: bool = False
    traced: bool = True
    end: int = 0
    listed: tuple[tuple[int, int, str], ...] = ()

    @property
    def starts(self) -> bool:
        """Is all well?"""
        return self.verdict.observed is not None and self.verdict.observed.outcome is Outcome.STARTS


@dataclass(frozen=True)
class Survey:
    """All that is known. Cells by (guest, limits, subject); guests in the order of the plan."""

    date: datetime.date
    guests: Mapping[str, Facts]
    releases: Mapping[str, str]
    subjects: Mapping[str, About]
    cells: Mapping[tuple[str, str, str], Seen]
    thresholds: Sequence[Threshold] = ()
    unfound: Sequence[tuple[str, str, str]] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def read(run: Path) -> Survey:
    """Read a run of a plan of subjects. Raises UsageError if the directory holds no such run."""
    try:
        found = msgspec.json.decode((run / FILE).read_bytes(), type=Found)
        lines = (run / "events.jsonl").read_bytes().splitlines()
        events = [msgspec.json.decode(line, type=AnyEvent) for line in lines]
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{run} holds no survey: {error}", "give the directory of one") from error
    started = next(each for each in events if isinstance(each, RunStarted))
    ready = {each.guest: each for each in events if isinstance(each, GuestReady)}
    same = _same(found.subjects)
    cells: dict[tuple[str, str, str], Seen] = {}
    missing: dict[str, str] = {}
    for cell in started.cells:
        seen = _seen(run / "cells" / cell.id)
        if seen is None:
            continue
        if seen.verdict.result is Result.UNSUPPORTED and cell.guest not in ready:
            missing[cell.guest] = seen.verdict.findings[0]
            continue
        if cell.guest in ready:
            end = cell.limits.ceiling or ready[cell.guest].facts.task_size
            seen = replace(seen, end=end)
        key = (cell.guest, str(cell.limits), same[cell.subject])
        cells[key] = _worse(cells[key], seen) if key in cells else seen
    order = dict.fromkeys(cell.guest for cell in started.cells if cell.guest in ready)
    return Survey(
        datetime.datetime.fromtimestamp(started.at, datetime.UTC).date(),
        {guest: ready[guest].facts for guest in order},
        {guest: ready[guest].facts.release for guest in order},
        {name: _about(name, same, found.subjects) for name in dict.fromkeys(same.values())},
        cells,
        [replace(each, subject=same[each.subject]) for each in found.thresholds],
        [(guest, same.get(name, name), why) for guest, name, why in found.unfound],
        missing,
    )


def _same(subjects: Mapping[str, About]) -> dict[str, str]:
    """Name for each subject the first one of its title: they are one runtime, for many machines."""
    first: dict[str, str] = {}
    return {name: first.setdefault(about.title, name) for name, about in subjects.items()}


def _about(name: str, same: Mapping[str, str], subjects: Mapping[str, About]) -> About:
    """Tell of a runtime, with each other version that it has on another machine."""
    here = subjects[name]
    others = (
        f"{other.rpartition('-')[2]} {subjects[other].version}"
        for other in subjects
        if same[other] == name and subjects[other].version != here.version
    )
    elsewhere = ", ".join(others)
    return replace(here, version=here.version + (f" ({elsewhere})" if elsewhere else ""))


def _worse(one: Seen, other: Seen) -> Seen:
    varied = one.varied or one.starts is not other.starts
    return replace(other if one.starts else one, varied=varied)


def _seen(directory: Path) -> Seen | None:
    try:
        verdict = msgspec.json.decode((directory / "verdict.json").read_bytes(), type=Verdict)
    except OSError:
        return None  # an interrupted run has not asked it
    story = _story(directory)
    lines = _lines(directory)
    listed = _listed(directory, lines)
    words = tuple(line.strip() for line in lines if line.strip())[:_LINES]
    if story is None:
        return Seen(verdict, (), words, traced=False, listed=listed)
    cut = bool(verdict.observed and TRACED in verdict.observed.evidence)
    return Seen(verdict, wishes(story), words, cut, listed=listed)


def _story(directory: Path) -> Story | None:
    """Return what a program did, as strace or its emulator told it; None if nobody did."""
    trace, log = directory / "strace", directory / "emulator.log"
    if log.exists():
        told = emulator.read_log(log.read_bytes())
        pid = next((each.pid for each in told.entries if isinstance(each, Call)), 0)
        return emulator.story_of(told, pid)
    if trace.exists():
        read = parse_trace(trace.read_bytes())
        return story_of(read, read.calls[0].pid if read.calls else 0)
    return None


def _listed(directory: Path, lines: Sequence[str]) -> tuple[tuple[int, int, str], ...]:
    """What it had mapped when it ended: as the kernel showed it, or else by its own words."""
    maps = directory / "maps-end"
    with contextlib.suppress(OSError, MapsError):
        return tuple((each.start, each.end, each.name) for each in parse_maps(maps.read_text()))
    matches = (_MAPPING.match(line) for line in lines)
    return tuple((int(m[1], 16), int(m[2], 16), (m[3] or "").strip()) for m in matches if m)


def _lines(directory: Path) -> list[str]:
    lines = []
    for name in ("stdout", "stderr"):
        path = directory / name
        if path.exists():
            with path.open("rb") as file:
                lines += file.read(_MOST).decode(errors="backslashreplace").splitlines()
    return lines
