"""The page of a survey: one file that loads nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import jinja2

from foothold_lab.harness.html_report.document import asset, embedded, environment
from foothold_lab.harness.survey import Survey
from foothold_lab.harness.survey.store_paths import without_store
from foothold_lab.harness.survey_page.view import MEANINGS, SIGNS, columns_of, rows_of

PACKAGE = "foothold_lab.harness.survey_page"
REPORT = "foothold_lab.harness.html_report"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a page in a web site: the `number`-th, from 0, of the pages `names` of a survey.
    `root` leads to the directory with index.html.
    """

    root: str
    names: tuple[str, ...]
    number: int


def render(survey: Survey, place: Place | None = None) -> bytes:
    """Return the page of a survey. In a web site, it is linked with the others."""
    columns = columns_of(survey)
    views = [view for _, view in columns]
    rows = list(rows_of(survey, columns))
    counts = Counter(field.word for row in rows for field in row.tried)
    style = asset(REPORT, "page.css") + asset(PACKAGE, "survey.css")
    script = asset(REPORT, "common.js") + asset(PACKAGE, "survey.js")
    page = (
        _environment()
        .get_template("survey.html")
        .render(
            date=survey.date.isoformat(),
            columns=views,
            rows=rows,
            counts={word: counts[word] for word in MEANINGS},
            signs=SIGNS,
            meanings=MEANINGS,
            machines=list(dict.fromkeys(each.machine for each in views)),
            place=place,
            limits=list(dict.fromkeys(each.limit for each in views)),
            **embedded(style, script),
        )
    )
    return without_store(page).encode()


@cache
def _environment() -> jinja2.Environment:
    return environment(PACKAGE, REPORT)
