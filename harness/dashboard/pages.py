"""The pages of the site: filled templates. Jinja escapes markup, and hidden characters are visible."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
from markupsafe import Markup

from foothold_lab.harness.dashboard.changes import RunChanges
from foothold_lab.harness.dashboard.timelines import CellLine, PlanHistory
from foothold_lab.harness.html_report.document import asset, environment
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS, RESULT_WORDS, cell_anchor
from foothold_lab.harness.results_db.flaky import Flaky
from foothold_lab.harness.results_db.models import Run, State

PACKAGE = "foothold_lab.harness.dashboard"
LINES = 150  # cells of a page: more make it larger than 300 kB if each changed in every run
_NAME = re.compile(r"[A-Za-z0-9_+=,-][A-Za-z0-9._+=,-]{0,80}")


@dataclass(frozen=True, kw_only=True)
class PlanPages:
    """A plan, and what its pages show: charts as SVG, and the page of the report of its newest run,
    empty without one.
    """

    history: PlanHistory
    changes: Sequence[RunChanges]
    charts: Sequence[tuple[str, str]]
    report: str = ""

    @property
    def folder(self) -> str:
        """The directory of its pages."""
        return f"plans/{file_name(self.history.plan)}"

    @property
    def broken(self) -> int:
        """The number of cells that the newest run was the first to find broken."""
        latest = [each for each in self.changes if each.run.id == self.history.newest.id]
        return sum(len(each.comparison.new_failures) for each in latest)

    def page_of(self, guest: str, number: int = 0) -> str:
        """The name of the `number`-th page of a guest, in the folder."""
        return f"{file_name(guest)}{f'-{number + 1}' if number else ''}.html"


def file_name(name: str) -> str:
    """Return a file name for any text. Different texts have different names."""
    if _NAME.fullmatch(name) and name != "index":
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9_+=,-]+", "-", name)[:60].strip("-")
    return f"{readable}-{digest}"


def index_page(plans: Sequence[PlanPages], flaky: Sequence[Flaky]) -> bytes:
    """Return the first page: the newest run of each plan."""
    return _render("index.html", root="", plans=plans, flaky=flaky)


def plan_page(plan: PlanPages) -> bytes:
    """Return the page of a plan: charts, guests over time, changes."""
    return _render("plan.html", root="../../", plan=plan)


def guest_pages(plan: PlanPages, guest: str) -> list[tuple[str, bytes]]:
    """Return the names and the pages of a guest's cells, of which each page has LINES."""
    lines = plan.history.guests[guest]
    parts = [lines[at : at + LINES] for at in range(0, len(lines), LINES)]
    names = [plan.page_of(guest, number) for number in range(len(parts))]
    return [
        (name, _guest_page(plan, guest, part, names))
        for name, part in zip(names, parts, strict=True)
    ]


def _guest_page(
    plan: PlanPages, guest: str, lines: Sequence[CellLine], names: Sequence[str]
) -> bytes:
    return _render("guest.html", root="../../", plan=plan, guest=guest, lines=lines, names=names)


def style() -> bytes:
    """Return the style sheet of all pages."""
    return asset(PACKAGE, "site.css").encode()


def _render(template: str, **values: object) -> bytes:
    return _environment().get_template(template).render(**values).encode()


@cache
def _environment() -> jinja2.Environment:
    made = environment(PACKAGE)
    made.filters |= {
        "anchor": cell_anchor, "time": _time, "svg": Markup, "seconds": _seconds, "state": _state
    }  # fmt: skip
    made.globals |= {"signs": RESULT_SIGNS, "words": RESULT_WORDS}
    return made


def _time(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _state(run: Run) -> str:
    return "" if run.state is State.FINISHED else str(run.state)
