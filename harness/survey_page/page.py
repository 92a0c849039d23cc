"""The page of a survey: one file that loads nothing."""

from __future__ import annotations

from collections import Counter
from functools import cache

import jinja2

from foothold_lab.harness.html_report.document import asset, embedded, environment
from foothold_lab.harness.survey import Survey
from foothold_lab.harness.survey_page.view import MEANINGS, SIGNS, columns_of, rows_of

PACKAGE = "foothold_lab.harness.survey_page"
REPORT = "foothold_lab.harness.html_report"


def render(survey: Survey) -> bytes:
    """Return the page of a survey."""
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
            limits=list(dict.fromkeys(each.limit for each in views)),
            **embedded(style, script),
        )
    )
    return page.encode()


@cache
def _environment() -> jinja2.Environment:
    return environment(PACKAGE, REPORT)
