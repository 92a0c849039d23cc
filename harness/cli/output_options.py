"""The reports of a run, and where a run is recorded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import history_file
from foothold_lab.harness.cli.parameters import STDOUT, check_output_file, check_stdout, gather
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.reporters import Bus


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Which reports a run writes, and which directory and database record it."""

    json_file: Path | None
    junit_file: Path | None
    html_file: Path | None
    github: bool | None
    run_dir: Path | None
    history: Path | None
    no_history: bool
    quiet: bool

    @property
    def stream(self) -> IO[str]:
        """The stream for the table: stderr if the JSON document goes to stdout."""
        return sys.stderr if self.json_file == Path(STDOUT) else sys.stdout

    def check(self) -> None:
        """Raise UsageError if a file cannot be written, or if two options contradict."""
        files = {
            "--json": self.json_file,
            "--junit": self.junit_file,
            "--html": self.html_file,
            "--history": self.history,
        }
        for option, path in files.items():
            if path == Path(STDOUT) and option == "--json":
                check_stdout(option)
            elif path:
                check_output_file(option, path, self.run_dir)
        if self.history and self.no_history:
            raise UsageError("--history and --no-history contradict", "remove one of them")

    def add_reporters(self, bus: Bus, directory: Path) -> None:
        """Add the reporters of a run, whose directory this is, to its events."""
        from foothold_lab.harness.html_report.reporter import HtmlReporter
        from foothold_lab.harness.reporters.github import GitHubReporter, is_github
        from foothold_lab.harness.reporters.junit import JUnitReporter
        from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
        from foothold_lab.harness.reporters.summary_json import JsonReporter
        from foothold_lab.harness.results_db.writer import HistoryReporter

        bus.add(RunDirectoryReporter(directory))
        if not self.no_history:
            bus.add(HistoryReporter(history_file(self.history)))
        if self.json_file:
            bus.add(JsonReporter(str(self.json_file)))
        if self.junit_file:
            bus.add(JUnitReporter(str(self.junit_file)))
        if self.html_file:
            bus.add(HtmlReporter(self.html_file, directory))
        if is_github() if self.github is None else self.github:
            bus.add(GitHubReporter(self.stream))


output_options = gather(
    "output",
    OutputOptions,
    [
        click.Option(["-q", "--quiet"], is_flag=True, help="Print only failures and the summary."),
        click.Option(
            ["--run-dir"],
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Keep the evidence in this directory (default: a new directory in "
            "~/.local/state/foothold/runs).",
        ),
        click.Option(
            ["--json", "json_file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write all results as JSON; - is standard output.",
        ),
        click.Option(
            ["--junit", "junit_file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write the results as JUnit XML.",
        ),
        click.Option(
            ["--html", "html_file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write the results as one HTML page.",
        ),
        click.Option(
            ["--github/--no-github"],
            default=None,
            help="Write annotations and a job summary for GitHub Actions (default: on GitHub).",
        ),
        click.Option(
            ["--history"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Record the run in this history database (environment: FOOTHOLD_HISTORY).",
        ),
        click.Option(["--no-history"], is_flag=True, help="Do not record the run in the history."),
    ],
)
