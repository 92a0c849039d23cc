"""`foothold report`: a run as one HTML file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.common import OK, state
from harness.errors import InfrastructureError, UsageError

LAST = "last"


@click.command()
@click.argument("run", default=LAST, metavar="[RUN_DIR|last]")
@click.option("-o", "--output", metavar="FILE", help="Write it here (report.html); - is stdout.")
@click.option("--compare", metavar="RUN_DIR", help="Say what has changed since this run.")
def report(run: str, output: str | None, compare: str | None) -> int:
    """Write a run as one HTML file that needs no network, and say where it is.

    A run is its directory, its name, or the last one of this user's. Without -o the file is
    report.html in that directory.
    """
    from harness.report.page import render
    from harness.report.read import read_run
    from harness.sinks.files import write_whole

    one = read_run(find(run))
    page = render(one, read_run(find(compare)) if compare else None)
    if output == "-":
        sys.stdout.buffer.write(page)
        return OK
    path = Path(output) if output else one.directory / "report.html"
    try:
        write_whole(path, page)
    except OSError as error:
        raise InfrastructureError(
            f"{path} cannot be written: {error.strerror or error}", "give -o another file"
        ) from error
    click.echo(str(path))
    return OK


def find(name: str) -> Path:
    """Return the directory of a run: a path, the name of a kept run, or `last`.

    Raises UsageError if there is none.
    """
    kept = state() / "runs"
    if name == LAST and not Path(name).exists():
        runs = sorted(path.parent for path in kept.glob("*/run.json"))  # a name begins with a time
        if not runs:
            raise UsageError(
                f"no run is kept in {kept}", "run something, or give the directory of a run"
            )
        return runs[-1]
    return Path(name) if Path(name).exists() or not (kept / name).is_dir() else kept / name
