"""`foothold history`: the runs that are recorded, and `history import`, which adds others."""

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
    plural,
    print_json,
    print_lines,
    print_text,
)
from foothold_lab.harness.cli.history_options import database_option, json_option, plan_option
from foothold_lab.harness.cli.runs import run_path

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.models import Run

_HEADER = ("run", "started", "plan", "state", "cells", "time", "Foothold")


@click.group(
    invoke_without_command=True, short_help="List earlier runs, or import runs of other machines."
)
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
@json_option
@database_option
@click.pass_context
def history(context: click.Context, plan: str, count: int, as_json: bool, file: Path) -> int:
    """List earlier runs, the newest first. `import` adds runs of other machines."""
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.database import Database

    if context.invoked_subcommand:
        _refuse_options(context)
        return OK
    with Database(file, read_only=True) as database:
        runs = reader.runs(database, plan, count)
    if as_json:
        print_json(runs)
    elif runs:
        print_lines(align_columns([_HEADER, *map(_row, runs)]))
    else:
        print_text(f"no runs{f' of plan {plan}' if plan else ''} in {file}", err=True)
    return OK


def _refuse_options(context: click.Context) -> None:
    """Raise an error for options of the list in front of a command, where they would do nothing."""
    given = click.core.ParameterSource.COMMANDLINE
    if any(context.get_parameter_source(name) is given for name in context.params):
        raise click.UsageError(
            f"options stand behind `{context.invoked_subcommand}`, not in front of it", context
        )


@history.command(name="import", short_help="Add runs of other machines.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@database_option
def import_runs(runs: tuple[str, ...], file: Path) -> int:
    """Add runs to the history, for example of another machine or of an artifact of CI.

    RUN is a run directory or a tar archive of one. The history keeps the verdicts; the evidence stays
    in the run directory. A run that the history has already is left out.
    """
    from foothold_lab.harness.merge import open_source
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.database import Database

    found = {word: run_path(word).absolute() for word in runs}
    for word, path in found.items():
        with open_source(path) as directory, Database(file) as database:
            try:
                added = reader.add(database, directory)
            except reader.KnownRunError as known:
                print_text(f"{word}: {known}", err=True)
            else:
                cells = plural(sum(added.counts.values()), "cell")
                print_text(f"{added.name}: {cells} of the plan {added.plan}")
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
