"""The page as a sink: written when the run is over, finished or not, from its directory."""

from __future__ import annotations

from pathlib import Path

from foothold_lab.harness.model.events import AnyEvent, RunStarted
from foothold_lab.harness.reporters.atomic_write import write_whole


class HtmlReporter:
    """Writes the page of a run. Must be closed after the sink that writes the run's directory."""

    def __init__(self, path: Path, directory: Path) -> None:
        self._path = path
        self._directory = directory
        self._began = False

    def __call__(self, event: AnyEvent) -> None:
        """Take note of an event."""
        self._began = self._began or isinstance(event, RunStarted)

    def close(self) -> None:
        """Write the file; a run that never had cells leaves none."""
        if self._began:
            from foothold_lab.harness.html_report.page import render
            from foothold_lab.harness.html_report.read import read_run

            write_whole(self._path, render(read_run(self._directory)))
