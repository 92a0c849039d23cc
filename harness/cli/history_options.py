"""Options of the commands that read the history of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foothold_lab.harness.cli.context import history_file
from foothold_lab.harness.cli.parameters import gather
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.database import Database

F = TypeVar("F", bound=Callable[..., Any])

plan_option = click.option(
    "--plan", default="", metavar="PLAN", help="Consider only runs of this plan."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def database_option(function: F) -> F:
    """Add `--history` to a command, which gets the path as `file`."""
    return click.option(
        "--history",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="History database to use (environment: FOOTHOLD_HISTORY).",
        callback=lambda _context, _parameter, chosen: history_file(chosen),
    )(function)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Where a command that is not `run` records what it finds. Raises UsageError."""

    history: Path | None
    no_history: bool

    def __post_init__(self) -> None:
        if self.history and self.no_history:
            raise UsageError("--history and --no-history contradict", "remove one of them")

    @property
    def file(self) -> Path | None:
        """The database; None: nothing is recorded."""
        return None if self.no_history else history_file(self.history)


recording_options = gather(
    "recording",
    Recording,
    [
        click.Option(
            ["--history"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Record what is found in this history database (environment: FOOTHOLD_HISTORY).",
        ),
        click.Option(["--no-history"], is_flag=True, help="Record nothing in the history."),
    ],
)


def open_history(file: Path, *runs: str) -> Database:
    """Open the history for reading. Without one, `runs` that are directories can still be read.

    Raises UsageError if there is no history and a run needs it.
    """
    from foothold_lab.harness.results_db.database import MEMORY, Database

    are_directories = bool(runs) and all(Path(run).is_dir() for run in runs)
    in_memory = are_directories and not file.exists()
    return Database(MEMORY if in_memory else file, read_only=not are_directories)
