"""`foothold history`: the runs that are recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import (
    align_columns,
    count_results,
    format_seconds,
    format_time,
    format_version,
    print_json,
    print_lines,
    print_text,
)
from foothold_lab.harness.cli.history_options import database_option, json_option, plan_option

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.models import Run

_HEADER = ("run", "started", "plan", "state", "cells", "time", "Foothold")


@click.command(short_help="List earlier runs.")
@plan_option
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="List the newest N runs.",
)
@click.option(
    "--add",
    "directories",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="First add the run in this directory, for example from another machine; repeatable.",
)
@json_option
@database_option
def history(plan: str, count: int, directories: tuple[Path, ...], as_json: bool, file: Path) -> int:
    """List earlier runs, the newest first."""
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.database import Database

    with Database(file, read_only=not directories) as database:
        for directory in directories:
            reader.add(database, directory.absolute())
        runs = reader.runs(database, plan, count)
    if as_json:
        print_json(runs)
    elif runs:
        print_lines(align_columns([_HEADER, *map(_row, runs)]))
    else:
        print_text(f"no runs{f' of plan {plan}' if plan else ''} in {file}", err=True)
    return OK


def _row(run: Run) -> tuple[str, ...]:
    return (
        run.name,
        format_time(run.started),
        run.plan,
        run.state,
        count_results(run.counts, run.flaky),
        format_seconds(run.seconds, 1),
        format_version(run),
    )
