"""The templates of the site, and what they can use."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache

import jinja2
from markupsafe import Markup

from foothold_lab.harness.dashboard.thresholds import describe
from foothold_lab.harness.html_report.document import asset, environment
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS, RESULT_WORDS, cell_anchor
from foothold_lab.harness.results_db.models import Run, State

PACKAGE = "foothold_lab.harness.dashboard"
SPARK_HEIGHT = 20


def render(template: str, **values: object) -> bytes:
    """Return a page."""
    return render_text(template, **values).encode()


def render_text(template: str, **values: object) -> Markup:
    """Return a filled template, as markup for another one."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704


def style() -> bytes:
    """Return the style sheet of all pages."""
    return asset(PACKAGE, "site.css").encode()


def spark(seconds: Sequence[float | None]) -> str:
    """Return the path of a line through durations, as SVG: one step to the right for each run."""
    most = max((each for each in seconds if each is not None), default=0.0) or 1.0
    parts = []
    pen = "M"
    for place, each in enumerate(seconds):
        if each is None:
            pen = "M"
            continue
        height = SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * each / most
        parts.append(f"{pen}{place + 0.5:g} {height:.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)


@cache
def _environment() -> jinja2.Environment:
    made = environment(PACKAGE)
    made.filters |= {
        "anchor": cell_anchor, "time": _time, "day": _day, "seconds": _seconds, "state": _state,
        "threshold": describe, "spark": spark,
    }  # fmt: skip
    made.globals |= {"signs": RESULT_SIGNS, "words": RESULT_WORDS, "spark_height": SPARK_HEIGHT}
    return made


def _time(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def _day(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return (
        f"{seconds:.2f} s"
        if seconds < 10
        else f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds:.0f} s"
    )


def _state(run: Run) -> str:
    return "" if run.state is State.FINISHED else str(run.state)
