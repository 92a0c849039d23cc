"""The page of a survey, cut into several if it is large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.dashboard.names import MOST_BYTES, page_name
from foothold_lab.harness.survey import Survey, read
from foothold_lab.harness.survey_page import Place, render

_LINKS = 5000  # bytes of the links between pages


def survey_pages(directory: Path, *, root: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the pages of the survey in a run directory. Raises UsageError."""
    parts = list(_parts(read(directory)))
    names = tuple(page_name("index", number) for number in range(len(parts)))
    for number, part in enumerate(parts):
        yield names[number], render(part, Place(root=root, names=names, number=number))


def _parts(survey: Survey) -> Iterator[Survey]:
    """Yield the survey, or halves of its runtimes, each of which fits into a page."""
    names = list(survey.subjects)
    if len(names) < 2 or len(render(survey)) <= MOST_BYTES - _LINKS:
        yield survey
        return
    middle = len(names) // 2
    for half in (names[:middle], names[middle:]):
        cells = {key: cell for key, cell in survey.cells.items() if key[2] in half}
        subjects = {name: survey.subjects[name] for name in half}
        yield from _parts(replace(survey, subjects=subjects, cells=cells))
