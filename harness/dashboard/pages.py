"""The pages of the site: filled templates. Jinja escapes markup, and hidden characters are visible.

A page has at most `MOST_BYTES`: its rows are put into as many pages as they need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from foothold_lab.harness.dashboard.changes import RunChanges
from foothold_lab.harness.dashboard.names import MOST_BYTES, SHELL_BYTES, file_name, page_name
from foothold_lab.harness.dashboard.rendering import render, render_text
from foothold_lab.harness.dashboard.thresholds import ThresholdBook
from foothold_lab.harness.dashboard.timelines import CellLine, PlanHistory
from foothold_lab.harness.html_report.parts import pack
from foothold_lab.harness.results_db.flaky import Flaky
from foothold_lab.harness.results_db.models import Run

T = TypeVar("T")

_CHANGES = 3  # on the page of a plan; the others have pages of their own
_FLAKY = 100
_PLAN_SHELL = 120_000  # bytes of the page of a plan, for all but its guests


@dataclass(frozen=True, kw_only=True)
class PlanPages:
    """A plan, and what its pages show.

    changes: of runs, the newest first.
    charts: the titles and the files of its charts, in the folder.
    evidence: the pages with the evidence of the newest run, by cell.
    findings: the pages with the evidence of new findings, by run and cell.
    survey, conformance: pages about the newest run, empty if there are none.
    flaky: the flaky cells of the plan, by the name of the cell.
    """

    history: PlanHistory
    changes: Sequence[RunChanges]
    thresholds: ThresholdBook
    charts: Sequence[tuple[str, str]] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    survey: str = ""
    conformance: str = ""
    flaky: Mapping[str, Flaky] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The directory of its pages."""
        return f"plans/{file_name(self.history.plan)}"

    @property
    def latest(self) -> RunChanges | None:
        """What the newest run changed, None if it changed nothing."""
        return next((each for each in self.changes if each.run.id == self.history.newest.id), None)

    @property
    def broken(self) -> int:
        """The number of cells that the newest run was the first to find broken."""
        return len(self.latest.cells) if self.latest else 0

    @property
    def first_evidence(self) -> str:
        """The first page with the evidence of the newest run."""
        return next(iter(self.evidence.values()), "")

    @property
    def replays(self) -> tuple[Run, ...]:
        """The runs that repeat the events of another run."""
        return tuple(each for each in self.history.runs if each.replay_of)

    def page_of(self, guest: str) -> str:
        """The name of the first page of a guest, in the folder."""
        return page_name(file_name(guest), 0)


def index_page(plans: Sequence[PlanPages], flaky: Sequence[Flaky]) -> bytes:
    """Return the first page: the newest run of each plan, what it changed, flaky cells."""
    return render("index.html", root="", plans=plans, flaky=flaky, most_flaky=_FLAKY)


def plan_pages(plan: PlanPages) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the pages of a plan: guests over time, changes, runs."""
    guests = _rows("guest_row.html", plan.history.guests.items(), plan=plan)
    chunks = list(pack(guests, MOST_BYTES - _PLAN_SHELL)) or [()]
    for number, chunk in enumerate(chunks):
        yield (
            page_name("index" if not number else "guests", number),
            render(
                "plan.html",
                root="../../",
                plan=plan,
                rows=[text for _, text in chunk],
                is_first=not number,
                others=[page_name("guests", other) for other in range(1, len(chunks))],
                shown=_CHANGES,
            ),
        )
    articles = _rows("change.html", plan.changes[_CHANGES:], plan=plan, root="../../", most=12)
    yield from _paged("changes", "What changed", plan, articles)
    runs = _rows("run_row.html", reversed(plan.history.runs))
    yield from _paged("runs", "Runs", plan, runs)


def guest_pages(plan: PlanPages, guest: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the pages of a guest's cells."""
    lines: Sequence[CellLine] = plan.history.guests[guest]
    rows = _rows("cell_row.html", lines, plan=plan, root="../../", guest=guest)
    chunks = list(pack(rows, MOST_BYTES - SHELL_BYTES))
    names = [page_name(file_name(guest), number) for number in range(len(chunks))]
    for number, chunk in enumerate(chunks):
        yield names[number], render(
            "guest.html", root="../../", plan=plan, guest=guest, number=number, names=names,
            rows=[text for _, text in chunk],
        )  # fmt: skip


def _paged(
    name: str, title: str, plan: PlanPages, rows: Iterable[tuple[T, str]]
) -> Iterator[tuple[str, bytes]]:
    chunks = list(pack(rows, MOST_BYTES - SHELL_BYTES))
    names = [page_name(name, number) for number in range(len(chunks))]
    for number, chunk in enumerate(chunks):
        yield names[number], render(
            f"{name}.html", root="../../", plan=plan, title=title, number=number, names=names,
            rows=[text for _, text in chunk],
        )  # fmt: skip


def _rows(template: str, values: Iterable[T], **more: object) -> Iterator[tuple[T, str]]:
    fill: Callable[..., str] = render_text
    return ((each, fill(template, row=each, **more)) for each in values)
