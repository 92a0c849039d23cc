"""The reporter that writes the page of a run at its end, from the run directory."""

from __future__ import annotations

from pathlib import Path

from foothold_lab.harness.model.events import AnyEvent, RunStarted
from foothold_lab.harness.reporters.atomic_write import write_whole


class HtmlReporter:
    """Writes the page of a run. Must be closed after the reporter that writes the run directory."""

    def __init__(self, path: Path, directory: Path) -> None:
        self._path = path
        self._directory = directory
        self._began = False

    def __call__(self, event: AnyEvent) -> None:
        """Process an event."""
        self._began = self._began or isinstance(event, RunStarted)

    def close(self) -> None:
        """Write the file. A run without cells gets none."""
        if self._began:
            from foothold_lab.harness.html_report.page import render
            from foothold_lab.harness.html_report.read import read_run

            write_whole(self._path, render(read_run(self._directory)))
