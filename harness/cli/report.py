"""`foothold report`: a run as one HTML file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.runs import find_run
from foothold_lab.harness.model.errors import InfrastructureError


@click.command()
@click.argument("run", default="last", metavar="[RUN]")
@click.option("-o", "--output", metavar="FILE", help="Write it here (report.html); - is stdout.")
@click.option("--compare", metavar="RUN", help="Say what has changed since this run.")
def report(run: str, output: str | None, compare: str | None) -> int:
    """Write a run as one HTML file that needs no network, and say where it is.

    RUN is as for `foothold show`: `last`, `last~1`, a run's name or the beginning of it, its
    directory. Without -o the file is report.html in that directory.
    """
    from foothold_lab.harness.html_report.page import render
    from foothold_lab.harness.html_report.read import read_run
    from foothold_lab.harness.reporters.atomic_write import write_whole

    one = read_run(_directory(run))
    page = render(one, read_run(_directory(compare)) if compare else None)
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


def _directory(word: str) -> Path:
    """Return where a run is. What is wrong with a directory is best told by who reads it."""
    return Path(word) if Path(word).exists() else find_run(word)
