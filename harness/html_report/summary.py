"""The summary of the run on the page, and its guests."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from foothold_lab.harness.html_report.cells import CellView
from foothold_lab.harness.html_report.read import TAIL, Run
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.model.traits import TRAITS
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.reporters.result import GuestResult
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS, RESULT_WORDS

_CONSOLE = 200  # lines of a guest's console


@dataclass(frozen=True, kw_only=True)
class Count:
    """The number of cells with a result. `share` is their part of all cells, `before` the part of the
    results before it in the bar, both in percent.
    """

    result: str
    sign: str
    word: str
    number: int
    share: float
    before: float


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A group of cells with the same findings."""

    result: str
    sign: str
    guest: str
    findings: tuple[Finding, ...]
    remedy: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True, kw_only=True)
class GuestView:
    """A guest: state, command line, versions, notes, console, facts."""

    name: str
    state: str
    command: str
    provenance: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    remedy: str
    console: str
    traits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The run in numbers and sentences."""

    title: str
    started: str
    seconds: float | None
    counts: tuple[Count, ...]
    problems: tuple[Problem, ...]
    unsupported: tuple[Problem, ...]
    flaky: tuple[CellView, ...]
    command: str


def summarise(run: Run, views: list[CellView]) -> Summary:
    """Return the summary of a run."""
    counts = tuple(_counts(run))
    finished = run.result.finished
    by_id = {view.cell.id: view for view in views}
    return Summary(
        title=run.result.headline,
        started=_time(run.started.at),
        seconds=finished.seconds if finished else None,
        counts=counts,
        problems=tuple(_problems(run, by_id, Result.FAIL, Result.ERROR)),
        unsupported=tuple(_problems(run, by_id, Result.UNSUPPORTED)),
        flaky=tuple(by_id[each.cell] for each in run.result.flaky),
        command=escape_shell(run.started.command),
    )


def _time(at: float) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):  # a damaged directory may say anything
        return "unknown time"


def _counts(run: Run) -> Iterator[Count]:
    total, before = max(1, len(run.result.cells)), 0.0
    for result, number in run.result.counts.items():
        share = 100 * number / total
        if number:
            yield Count(
                result=result,
                sign=RESULT_SIGNS[result],
                word=RESULT_WORDS[result],
                number=number,
                share=share,
                before=before,
            )
        before += share


def _problems(run: Run, views: Mapping[str, CellView], *wanted: Result) -> Iterator[Problem]:
    for verdicts in run.result.grouped(*wanted):
        first, cells = verdicts[0], tuple(views[each.cell] for each in verdicts)
        result, guest = first.result.value, cells[0].cell.guest
        yield Problem(
            result=result,
            sign=RESULT_SIGNS[result],
            guest=guest,
            findings=first.findings,
            remedy=first.remedy,
            cells=cells,
        )


def guest_views(run: Run) -> Iterator[GuestView]:
    """Yield the data of each guest."""
    for name, guest in run.result.guests.items():
        ready = guest.ready
        yield GuestView(
            name=name,
            state=_state(guest),
            command=escape_shell(guest.argv or (guest.failed.argv if guest.failed else ())),
            provenance=tuple(sorted(ready.provenance.items())) if ready else (),
            notes=ready.notes if ready else (),
            remedy=guest.failed.remedy if guest.failed else "",
            console=_console(run, name, guest),
            traits=tuple(tell(ready.facts) for tell in TRAITS.values()) if ready else (),
        )


def _state(guest: GuestResult) -> str:
    parts = []
    if guest.ready:
        parts.append(f"ready in {guest.ready.seconds:.2f} s")
    if guest.failed:
        kind = "unsupported" if guest.failed.blame == "unsupported" else "failed"
        parts.append(f"{kind}: {guest.failed.message}")
    return "; ".join(parts) or "not booted"


def _console(run: Run, name: str, guest: GuestResult) -> str:
    """Return the last lines of the kernel and init."""
    text = guest.failed.console if guest.failed else ""
    with contextlib.suppress(OSError):
        log = run.files.read_end(f"guests/{name}/console.log", TAIL)
        text = log.decode(errors="backslashreplace") or text
    return "\n".join(text.splitlines()[-_CONSOLE:])
