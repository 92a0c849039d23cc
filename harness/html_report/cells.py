"""What the page shows of one cell: everything that is known of it, in words and numbers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from foothold_lab.harness.evidence.allocator_report import (
    Broken,
    End,
    Exit,
    Report,
    Reserved,
    Throw,
    Workload,
)
from foothold_lab.harness.evidence.arena_detection import sight
from foothold_lab.harness.evidence.maps import ledger_of
from foothold_lab.harness.evidence.observe import MOMENTS
from foothold_lab.harness.html_report import ledger, space
from foothold_lab.harness.html_report.address_map import Axis, Picture, about, draw
from foothold_lab.harness.html_report.comparison import Change
from foothold_lab.harness.html_report.read import Evidence, Run, read_evidence
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import Ending
from foothold_lab.harness.model.verdict import Expectation, Result, Verdict
from foothold_lab.harness.reporters.result_matrix import Mark, mark

MOST_RAW = 100  # cells of which the page holds the raw evidence: those that did not pass
_CONSOLE = 40  # lines


@dataclass(frozen=True)
class Told:
    """One of the three that have to agree: observed, predicted, declared."""

    who: str
    what: str
    why: str = ""
    agrees: bool = True


@dataclass(frozen=True)
class Testimony:
    """What the three witnesses say to one question; empty where one knows nothing of it."""

    question: str
    report: str = ""
    maps: str = ""
    trace: str = ""

    def __bool__(self) -> bool:
        return bool(self.report or self.maps or self.trace)


@dataclass(frozen=True)
class CellView:
    """A cell, ready to be shown."""

    cell: Cell
    mark: Mark
    verdict: Verdict | None
    told: tuple[Told, ...] = ()
    witnesses: tuple[Testimony, ...] = ()
    space: tuple[space.Segment, ...] = ()
    moment: str = ""
    picture: Picture | None = None
    ledger: ledger.Table | None = None
    raw: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    console: str = ""
    command: str = ""
    change: Change | None = None

    @property
    def headline(self) -> str:
        """What happened, in one phrase."""
        if self.verdict is None:
            return "not reached: the run ended before it"
        if self.verdict.observed:
            return str(self.verdict.observed)
        return self.verdict.findings[0] if self.verdict.findings else self.verdict.result.value


def cell_views(run: Run, axis: Axis, changes: Mapping[str, Change]) -> Iterator[CellView]:
    """Read and prepare every cell of a run, in the plan's order."""
    raw = 0
    for cell in run.result.cells:
        verdict = run.result.verdicts.get(cell.id)
        keeps = verdict is not None and verdict.result in (Result.FAIL, Result.ERROR)
        raw += keeps
        ready = run.result.guests[cell.guest].ready
        yield _view(
            run,
            cell,
            verdict,
            axis,
            ready.facts if ready else None,
            changes.get(cell.id),
            keeps_raw=keeps and raw <= MOST_RAW,
        )


def _view(
    run: Run,
    cell: Cell,
    verdict: Verdict | None,
    axis: Axis,
    facts: Facts | None,
    change: Change | None,
    *,
    keeps_raw: bool,
) -> CellView:
    mine = mark(cell, verdict, changed=change is not None)
    if verdict is None:
        return CellView(cell, mine, None, command=shlex.join(cell.command), change=change)
    evidence = read_evidence(run, cell.id, reports=bool(cell.policy))
    segments = space.segments(evidence)
    asked = ledger.requests(evidence)
    drawing = None
    if facts and (segments or asked):
        arena = space.arena_of(evidence.report)
        drawing = draw(axis, facts, segments, asked, arena, cell.limits.occupied)
    return CellView(
        cell,
        mine,
        verdict,
        told=tuple(_told(verdict)),
        witnesses=tuple(filter(None, _witnesses(cell, facts, evidence))),
        space=segments,
        moment=_moment(evidence),
        picture=drawing,
        ledger=ledger.table(evidence),
        raw=evidence.raw if keeps_raw else {},
        problems=evidence.problems,
        console="\n".join(verdict.console.splitlines()[-_CONSOLE:]),
        command=shlex.join(verdict.command or cell.command),
        change=change,
    )


def _moment(evidence: Evidence) -> str:
    """Say when the drawing's mappings were seen, and by whom."""
    if evidence.maps:
        return f"the kernel's maps, {_when(list(evidence.maps)[-1])}"
    return "the trace: nobody read its maps, since it was never held" if evidence.story else ""


def _when(moment: str) -> str:
    return {"reserved": "after the reservation", "end": "at the end"}.get(moment, moment)


def _told(verdict: Verdict) -> Iterator[Told]:
    seen = verdict.observed
    if seen:
        yield Told("observed", str(seen))

    def told(who: str, one: Expectation) -> Told:
        return Told(who, str(one), one.reason, seen is None or seen.is_as(one))

    if verdict.predicted:
        yield told("predicted", verdict.predicted)
    if verdict.expected:
        yield told("expected", verdict.expected)


def _witnesses(cell: Cell, facts: Facts | None, evidence: Evidence) -> Iterator[Testimony]:
    report, story = evidence.report, evidence.story
    pointers = facts.pointer_size if facts else 8
    sightings = {
        moment: sight(maps, cell.policy, pointers)
        for moment, maps in evidence.maps.items()
        if moment in MOMENTS
    }
    last = list(sightings.values())[-1] if sightings else None
    if report:
        claimed = f"{report.path}" if report.path else "says nothing of it"
        shown = "never held: there are none"
        if last:
            shown = f"{last.path}" if last.path else "no arena"
        yield Testimony("path", claimed, shown)
        for moment in MOMENTS:
            seen = sightings.get(moment)
            yield Testimony(_when(moment), _claim(report, moment), seen.line if seen else "")
    for moment, maps in evidence.maps.items():
        if moment not in MOMENTS or not report:
            largest = sorted(ledger_of(maps), key=lambda each: -each.length)[:3]
            yield Testimony(_when(moment), maps="; ".join(map(str, largest)))
    asked = [str(each) for each in evidence.account.ledger if each.tells and not each.within]
    mappings = list(evidence.maps.values())[-1] if evidence.maps else ()
    yield Testimony(
        "reservations",
        f"{len(report.calls)} calls" if report and report.calls else "",
        f"{len(mappings)} mappings" if mappings else "",
        "; ".join(asked[:3]) or ("nothing large, nothing with a hint" if story else ""),
    )
    if story and (story.threads or story.children):
        yield Testimony("started", trace=f"{story.threads} threads, {story.children} processes")
    agent = _ended(evidence.ending) if evidence.ending else ""
    yield Testimony("end", _last(report), agent, story.ending if story else "")


def _claim(report: Report, moment: str) -> str:
    said = report.claims.get(moment)
    if isinstance(said, Reserved):
        return (
            f"{about(said.length)} at {said.base:#x}, arena at {said.arena_start:#x}, "
            f"heap up to {said.arena_used:#x}"
        )
    if isinstance(said, End):
        work = report.one(Workload)
        blocks = f"; {work.small} small and {work.large} large blocks, verified" if work else ""
        return f"heap {said.arena_start:#x}-{said.arena_used:#x}{blocks}"
    return ""


def _last(report: Report | None) -> str:
    if report is None:
        return ""
    if broken := report.one(Broken):
        return f"memory did not hold: {broken.message}"
    if death := report.one(Throw) or report.one(Exit):
        return f"died, status {death.status}: {death.message}"
    return "ended well" if report.one(End) else "no end"


def _ended(ending: Ending) -> str:
    how = f"signal {ending.signal}" if ending.signal else f"status {ending.status}"
    memory = f"{about(ending.max_rss)} resident"
    return f"the agent saw {how}; {ending.wall:.2f} s, {memory}, {ending.minor_faults} page faults"
