"""What a site keeps of the directories of runs: evidence, surveys, conformance.

A directory may be gone when the site is written the next time. The pages that were made of it stay,
as long as the site shows the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness.dashboard.conformance import conformance_pages
from foothold_lab.harness.dashboard.names import MOST_BYTES, file_name
from foothold_lab.harness.dashboard.surveys import survey_pages
from foothold_lab.harness.html_report.parts import render_parts
from foothold_lab.harness.html_report.read import read_run
from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.harness.model.probes import SUBJECTS
from foothold_lab.harness.reporters.atomic_write import replace_file
from foothold_lab.harness.results_db.models import Run, State
from foothold_lab.harness.results_db.reader import StoredRun
from foothold_lab.harness.run_directory import SURVEY_FILE, RunFiles

MOST_CELLS = 2000  # of a run whose evidence a site has; of a larger run, those that went wrong
Pages = Mapping[str, str]  # what a page shows, such as a cell, and the name of its file in the site


@dataclass
class SiteFiles:
    """Writes files of a site. `names` are those that it has now."""

    directory: Path
    names: dict[str, None] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> None:
        """Write a file. Raises OSError."""
        replace_file(self.directory / name, data)
        self.names[name] = None

    def keep(self, names: Collection[str]) -> bool:
        """Keep files of the earlier site. False if one of them is missing."""
        there = all((self.directory / name).is_file() for name in names)
        self.names |= dict.fromkeys(names) if there else {}
        return there


class Attachments:
    """Pages made of directories of runs. `earlier` are those of the earlier site, `kept` those of
    this one: by what they were made of.
    """

    def __init__(self, files: SiteFiles, earlier: Mapping[str, Pages]) -> None:
        self._files = files
        self._earlier = earlier
        self.kept: dict[str, Pages] = {}

    def evidence(self, stored: StoredRun) -> Pages:
        """Return the pages with the evidence of a run, by cell."""
        only: Collection[str] = ()
        if len(stored.cells) > MOST_CELLS:
            only = {each.name for each in stored.cells if each.is_bad} or {""}
        return self._pages("evidence", stored.run, lambda run: _evidence(run, "cells", only))

    def finding(self, run: Run, cells: Collection[str]) -> Pages:
        """Return the pages with the evidence of the new findings of a run, by cell."""
        if not cells:
            return {}
        only = list(cells)[:MOST_CELLS]
        return self._pages("findings", run, lambda run: _evidence(run, "findings", only))

    def survey(self, run: Run) -> str:
        """Return the first page of the survey of a run, empty if it is none."""
        return next(iter(self._pages("survey", run, _survey).values()), "")

    def conformance(self, stored: StoredRun) -> str:
        """Return the first page about the probes of a run, empty if it asked none."""
        if not any(each.subject.startswith(SUBJECTS) for each in stored.cells):
            return ""
        pages = self._pages("conformance", stored.run, _conformance)
        return next(iter(pages.values()), "")

    def _pages(self, kind: str, run: Run, make: Callable[[Run], Iterator[_Page]]) -> Pages:
        key = f"{kind}: {run.name}"
        pages = self._earlier.get(key, {})
        if run.state is State.RUNNING or not pages or not self._files.keep(pages.values()):
            pages = {}
            with contextlib.suppress(
                FootholdError, OSError
            ):  # the directory may be gone or damaged
                for page in make(run):
                    self._files.write(page.name, page.html)
                    pages |= dict.fromkeys(page.shows, page.name)
        if pages:
            self.kept[key] = pages
        return pages


@dataclass(frozen=True, kw_only=True)
class _Page:
    """A page to be written, and what it shows."""

    name: str
    html: bytes
    shows: tuple[str, ...]


def _evidence(run: Run, kind: str, only: Collection[str]) -> Iterator[_Page]:
    folder = f"evidence/{file_name(run.name)}/{kind}"
    shown = read_run(Path(run.directory))
    for part in render_parts(shown, MOST_BYTES, only=only, root="../../../"):
        yield _Page(name=f"{folder}/{part.name}", html=part.html, shows=part.cells)


def _survey(run: Run) -> Iterator[_Page]:
    directory = Path(run.directory)
    if RunFiles(directory).is_file(SURVEY_FILE):
        for name, html in survey_pages(directory, root="../../"):
            yield _Page(name=f"surveys/{file_name(run.name)}/{name}", html=html, shows=(name,))


def _conformance(run: Run) -> Iterator[_Page]:
    for name, html in conformance_pages(Path(run.directory), root="../../"):
        yield _Page(name=f"conformance/{file_name(run.name)}/{name}", html=html, shows=(name,))
