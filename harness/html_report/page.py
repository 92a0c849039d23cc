"""The page: templates filled with what is known, style and script within, one file.

Jinja escapes whatever is put in; before that, what could move a cursor or turn text round is made
visible. A content security policy allows this page's own style and script and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

from foothold_lab.harness.html_report.address_map import LEFT, RIGHT, WIDTH, Axis, about, ticks
from foothold_lab.harness.html_report.cells import cell_views
from foothold_lab.harness.html_report.comparison import compare
from foothold_lab.harness.html_report.read import Run
from foothold_lab.harness.html_report.summary import guest_views, summarise
from foothold_lab.harness.model.traits import TRAITS
from foothold_lab.harness.reporters.result_matrix import SHAPES, WORDS, matrix
from foothold_lab.harness.reporters.sanitize import clean

PRINTED_WHOLE = 100  # cells; of a larger run, the printed page has those that are open
_LONGEST = 4000  # characters of a line


def render(run: Run, earlier: Run | None = None) -> bytes:
    """Return the page of a run, compared with an earlier one if there is one."""
    comparison = compare(earlier, run) if earlier else None
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
            matrix=matrix(run.result.cells, [view.mark for view in views]),
            views=views,
            ticks=list(ticks(axis)),
            guests=guests,
            traits=list(TRAITS),
            comparison=comparison,
            links={view.cell.id: view.mark for view in views},
            shapes=SHAPES,
            words=WORDS,
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
    environment.filters["about"] = about
    environment.filters["place"] = lambda number: f"{number:.1f}".removesuffix(".0")
    environment.globals.update(width=WIDTH, left=LEFT, right=RIGHT)
    return environment


def visible(value: object) -> object:
    """Make what a text hides visible, line by line; leave anything else as it is."""
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "\n".join(clean(line.replace("\t", "    "), _LONGEST) for line in value.split("\n"))


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
