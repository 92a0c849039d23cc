"""The data of one cell on the page: verdict, witnesses, drawing, requests, raw evidence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from foothold_lab.harness.evidence.allocator_report import (
    Broken,
    End,
    Exit,
    Report,
    Reserved,
    Throw,
    Workload,
)
from foothold_lab.harness.evidence.arena_detection import detect_path
from foothold_lab.harness.evidence.maps import ledger_of
from foothold_lab.harness.evidence.observe import CHECKPOINTS
from foothold_lab.harness.html_report import ledger, space
from foothold_lab.harness.html_report.address_map import Axis, Drawing, draw, rounded_size
from foothold_lab.harness.html_report.comparison import Change
from foothold_lab.harness.html_report.read import Evidence, Run, read_evidence
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.ledger import PAGE
from foothold_lab.harness.model.record import Ending
from foothold_lab.harness.model.signals import signal_name
from foothold_lab.harness.model.verdict import Expectation, Result, Verdict
from foothold_lab.harness.reporters.result_matrix import CellMark, mark_cell

MAX_RAW_CELLS = 100  # failed cells whose raw evidence is in the page
_CONSOLE = 40  # lines


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One of observation, prediction and expectation, which must agree."""

    source: str
    text: str
    reason: str = ""
    agrees: bool = True


@dataclass(frozen=True, kw_only=True)
class WitnessRow:
    """The answers of the three witnesses to one question. An empty one means that it has no answer."""

    question: str
    report: str = ""
    maps: str = ""
    trace: str = ""

    def __bool__(self) -> bool:
        return bool(self.report or self.maps or self.trace)


@dataclass(frozen=True, kw_only=True)
class CellView:
    """A cell, ready for the templates."""

    cell: Cell
    mark: CellMark
    verdict: Verdict | None
    statements: tuple[Statement, ...] = ()
    witnesses: tuple[WitnessRow, ...] = ()
    segments: tuple[space.Segment, ...] = ()
    source: str = ""
    drawing: Drawing | None = None
    ledger: ledger.LedgerTable | None = None
    raw_files: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    console: str = ""
    command: str = ""
    change: Change | None = None

    @property
    def headline(self) -> str:
        """The result in one phrase."""
        if self.verdict is None:
            return "not reached: the run ended before this cell"
        if self.verdict.observed:
            return str(self.verdict.observed)
        return self.verdict.reason or self.verdict.result.value


def cell_views(
    run: Run, axis: Axis, changes: Mapping[str, Change], *, only: Collection[str] = ()
) -> Iterator[CellView]:
    """Read and prepare the cells of a run, in the order of the plan: all, or those of `only`."""
    raw = 0
    for cell in run.result.cells:
        if only and cell.id not in only:
            continue
        verdict = run.result.verdicts.get(cell.id)
        if verdict is None:
            change = changes.get(cell.id)
            mark = mark_cell(cell, None, changed=change is not None)
            command = escape_shell(cell.command)
            yield CellView(cell=cell, mark=mark, verdict=None, command=command, change=change)
            continue
        view = _view(run, cell, verdict, axis)
        if verdict.result in (Result.FAIL, Result.ERROR):
            raw += 1
        if verdict.result not in (Result.FAIL, Result.ERROR) or raw > MAX_RAW_CELLS:
            view = replace(view, raw_files={})
        if change := changes.get(cell.id):
            view = replace(view, change=change, mark=mark_cell(cell, verdict, changed=True))
        yield view


def _view(run: Run, cell: Cell, verdict: Verdict, axis: Axis) -> CellView:
    """Prepare a cell that has a verdict, with all of its raw evidence."""
    ready = run.result.guests[cell.guest].ready
    facts = ready.facts if ready else None
    evidence = read_evidence(
        run,
        cell.id,
        reports=bool(cell.policy),
        page_size=facts.page_size if facts else PAGE,
    )
    segments = space.segments(evidence)
    asked = ledger.requests(evidence)
    drawing = None
    if facts and (segments or asked):
        arena = space.arena_of(evidence.report)
        drawing = draw(axis, facts, segments, asked, arena, cell.limits.occupied)
    return CellView(
        cell=cell,
        mark=mark_cell(cell, verdict),
        verdict=verdict,
        statements=tuple(_statements(verdict)),
        witnesses=tuple(filter(None, _witness_rows(cell, facts, evidence))),
        segments=segments,
        source=_source(evidence),
        drawing=drawing,
        ledger=ledger.table(evidence),
        raw_files=evidence.raw,
        problems=evidence.problems,
        console="\n".join(verdict.console.splitlines()[-_CONSOLE:]),
        command=escape_shell(verdict.command or cell.command),
    )


def _source(evidence: Evidence) -> str:
    """Return when the mappings of the drawing were read, and by whom."""
    if evidence.maps:
        return f"the kernel's maps, {_when(list(evidence.maps)[-1])}"
    return (
        "the trace, because the subject reached no checkpoint at which its maps are read"
        if evidence.subject_trace
        else ""
    )


def _when(moment: str) -> str:
    return {"reserved": "after the reservation", "end": "at the end"}.get(moment, moment)


def _statements(verdict: Verdict) -> Iterator[Statement]:
    seen = verdict.observed
    if seen:
        yield Statement(source="observed", text=str(seen))

    def statement(source: str, one: Expectation) -> Statement:
        return Statement(
            source=source, text=str(one), reason=one.reason, agrees=seen is None or seen.is_as(one)
        )

    if verdict.predicted:
        yield statement("predicted", verdict.predicted)
    if verdict.expected:
        yield statement("expected", verdict.expected)


def _witness_rows(cell: Cell, facts: Facts | None, evidence: Evidence) -> Iterator[WitnessRow]:
    report, subject_trace = evidence.report, evidence.subject_trace
    pointers = facts.pointer_size if facts else 8
    detected = {
        moment: detect_path(maps, cell.policy, pointers)
        for moment, maps in evidence.maps.items()
        if moment in CHECKPOINTS
    }
    last = list(detected.values())[-1] if detected else None
    if report:
        claimed = f"{report.path}" if report.path else "not reported"
        shown = "none: the subject reached no checkpoint"
        if last:
            shown = f"{last.path}" if last.path else "no arena"
        yield WitnessRow(question="path", report=claimed, maps=shown)
        for moment in CHECKPOINTS:
            seen = detected.get(moment)
            yield WitnessRow(
                question=_when(moment),
                report=_claim(report, moment),
                maps=seen.evidence if seen else "",
            )
    for moment, maps in evidence.maps.items():
        if moment not in CHECKPOINTS or not report:
            largest = sorted(ledger_of(maps), key=lambda each: -each.length)[:3]
            yield WitnessRow(question=_when(moment), maps="; ".join(map(str, largest)))
    asked = [
        str(each) for each in evidence.address_space.ledger if each.notable and not each.nested
    ]
    mappings = list(evidence.maps.values())[-1] if evidence.maps else ()
    yield WitnessRow(
        question="reservations",
        report=f"{len(report.calls)} calls" if report and report.calls else "",
        maps=f"{len(mappings)} mappings" if mappings else "",
        trace="; ".join(asked[:3])
        or ("no large one, and none with a hint" if subject_trace else ""),
    )
    if subject_trace and (subject_trace.threads or subject_trace.children):
        yield WitnessRow(
            question="started",
            trace=f"{subject_trace.threads} threads, {subject_trace.children} processes",
        )
    agent = _ended(evidence.ending) if evidence.ending else ""
    yield WitnessRow(
        question="end",
        report=_last(report),
        maps=agent,
        trace=subject_trace.ending if subject_trace else "",
    )


def _claim(report: Report, moment: str) -> str:
    said = report.claims.get(moment)
    if isinstance(said, Reserved):
        return (
            f"{rounded_size(said.length)} at {said.base:#x}, arena at {said.arena_start:#x}, "
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
    how = signal_name(ending.signal) if ending.signal else f"status {ending.status}"
    memory = f"{rounded_size(ending.max_rss)} resident"
    return f"{how}; {ending.wall:.2f} s, {memory}, {ending.minor_faults} page faults"
