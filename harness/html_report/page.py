"""The page: filled templates with style and script, in one file.

Hidden characters are made visible and Jinja escapes markup. A content security policy allows only
the style and script of this page.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

from foothold_lab.harness.html_report.address_map import (
    LEFT,
    RIGHT,
    WIDTH,
    Axis,
    rounded_size,
    ticks,
)
from foothold_lab.harness.html_report.cells import cell_views
from foothold_lab.harness.html_report.comparison import compare_runs
from foothold_lab.harness.html_report.read import Run
from foothold_lab.harness.html_report.summary import guest_views, summarise
from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.escape import escape_html
from foothold_lab.harness.model.traits import TRAITS
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS, RESULT_WORDS, arrange

PRINTED_WHOLE = 100  # cells; a larger run is printed with its open cells only


def render(run: Run, earlier: Run | None = None) -> bytes:
    """Return the page of a run, with a comparison if an earlier run is given."""
    comparison = compare_runs(earlier, run) if earlier else None
    changes = {change.cell: change for change in comparison.changes} if comparison else {}
    guests = list(guest_views(run))
    ready = [guest.ready for guest in run.result.guests.values() if guest.ready]
    axis = Axis.of([each.facts for each in ready])
    views = list(cell_views(run, axis, changes))
    style, script = _asset("page.css"), _asset("page.js")
    page = (
        _environment()
        .get_template("page.html")
        .render(
            run=run,
            summary=summarise(run, views),
            matrix=arrange(run.result.cells, [view.mark for view in views]),
            views=views,
            ticks=list(ticks(axis)),
            guests=guests,
            traits=list(TRAITS),
            comparison=comparison,
            links={view.cell.id: view.mark for view in views},
            signs=RESULT_SIGNS,
            words=RESULT_WORDS,
            allocator=any(cell.subject == ALLOCATOR for cell in run.result.cells),
            large=len(views) > PRINTED_WHOLE,
            style=Markup(style),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704
            policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'",
        )
    )
    return page.encode()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("foothold_lab.harness.html_report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=visible,
    )
    environment.filters["rounded_size"] = rounded_size
    environment.filters["place"] = lambda number: f"{number:.1f}".removesuffix(".0")
    environment.globals.update(width=WIDTH, left=LEFT, right=RIGHT)
    return environment


def visible(value: object) -> object:
    """Make the hidden characters of a text visible; leave every other value as it is."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return escape_html(value)


@cache
def _asset(name: str) -> str:
    return (
        resources.files("foothold_lab.harness.html_report")
        .joinpath("assets", name)
        .read_text("utf-8")
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
