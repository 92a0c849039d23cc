"""`foothold flaky`: cells whose verdict changes while nothing else does."""

from __future__ import annotations

from pathlib import Path

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import align_columns, print_json, print_lines
from foothold_lab.harness.cli.history_options import (
    database_option,
    json_option,
    open_history,
    plan_option,
)


@click.command(short_help="List cells whose verdict changes by itself.")
@plan_option
@json_option
@database_option
def flaky(plan: str, as_json: bool, file: Path) -> int:
    """List cells whose verdict changed while nothing else changed.

    Runs are compared if subject, images, kernels, facts, expectations and the version of Foothold
    are the same. Cells that only passed after a retry are listed too.
    """
    from foothold_lab.harness.results_db.flaky import flaky as find_flaky

    with open_history(file) as database:
        found = find_flaky(database, plan)
    if as_json:
        print_json(found)
        return OK
    if not found:
        click.echo("no cell changed its verdict while nothing else changed", err=True)
        return OK
    rows = [("cell", "last run", "retries", "verdicts")]
    for cell in found:
        by_count = sorted(cell.outcomes.items(), key=lambda each: -each[1])
        verdicts = ", ".join(f"{count} x {verdict}" for verdict, count in by_count)
        rows.append((cell.cell, cell.last_run, str(cell.retries or ""), verdicts))
    print_lines(align_columns(rows))
    return OK
