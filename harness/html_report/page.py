"""The page: filled templates with style and script, in one file."""

from __future__ import annotations

from functools import cache

import jinja2

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
from foothold_lab.harness.html_report.document import asset, embedded, environment
from foothold_lab.harness.html_report.read import Run
from foothold_lab.harness.html_report.summary import guest_views, summarise
from foothold_lab.harness.model.cells import ALLOCATOR
from foothold_lab.harness.model.traits import TRAITS
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS, RESULT_WORDS, arrange

PACKAGE = "foothold_lab.harness.html_report"
PRINTED_WHOLE = 100  # cells; a larger run is printed with its open cells only


def render(run: Run, earlier: Run | None = None) -> bytes:
    """Return the page of a run, with a comparison if an earlier run is given."""
    comparison = compare_runs(earlier, run) if earlier else None
    changes = {change.cell: change for change in comparison.changes} if comparison else {}
    guests = list(guest_views(run))
    ready = [guest.ready for guest in run.result.guests.values() if guest.ready]
    axis = Axis.of([each.facts for each in ready])
    views = list(cell_views(run, axis, changes))
    page = (
        templates()
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
            is_part=False,
            **embedded(
                asset(PACKAGE, "page.css"), asset(PACKAGE, "common.js") + asset(PACKAGE, "page.js")
            ),
        )
    )
    return page.encode()


@cache
def templates() -> jinja2.Environment:
    """Return the environment of the templates of a run."""
    made = environment(PACKAGE)
    made.filters["rounded_size"] = rounded_size
    made.filters["place"] = lambda number: f"{number:.1f}".removesuffix(".0")
    made.globals.update(width=WIDTH, left=LEFT, right=RIGHT)
    return made
