"""Options of the commands that read the history of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foothold_lab.harness.cli.context import history_file

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


def open_history(file: Path, *runs: str) -> Database:
    """Open the history for reading. Without one, `runs` that are directories can still be read.

    Raises UsageError if there is no history and a run needs it.
    """
    from foothold_lab.harness.results_db.database import MEMORY, Database

    are_directories = bool(runs) and all(Path(run).is_dir() for run in runs)
    in_memory = are_directories and not file.exists()
    return Database(MEMORY if in_memory else file, read_only=not are_directories)
