"""`foothold report`: a run as one HTML file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.parameters import STDOUT, output_option
from foothold_lab.harness.cli.runs import run_path
from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.harness.model.findings import Code


@click.command(short_help="Write a run as one HTML file.")
@click.argument("run", default="last", metavar="[RUN]")
@output_option(
    "-o",
    "--output",
    stdout=True,
    help="Write to this file (default: report.html in the run directory); - is standard output.",
)
@click.option("--compare", metavar="RUN", help="Show what changed since this run.")
def report(run: str, output: Path | None, compare: str | None) -> int:
    """Write a run as one HTML file, which needs no network, and print its path.

    RUN is `last` (default), or named as in `foothold show`.
    """
    from foothold_lab.harness.html_report.page import render
    from foothold_lab.harness.html_report.read import read_run
    from foothold_lab.harness.reporters.atomic_write import replace_file, write_whole

    shown = read_run(run_path(run))
    html = render(shown, read_run(run_path(compare)) if compare else None)
    if output == Path(STDOUT):
        sys.stdout.buffer.write(html)
        return OK
    path = output or shown.directory / "report.html"
    try:
        # in a run directory from elsewhere, the name may belong to a link to a device
        write_whole(path, html) if output else replace_file(path, html)
    except OSError as error:
        raise InfrastructureError(
            f"{path} cannot be written: {error.strerror or error}",
            "give -o another file",
            code=Code.INFRASTRUCTURE_OUTPUT,
        ) from error
    if sys.stdout.isatty():
        print_text(str(path))
    else:
        click.echo(os.fsencode(path))  # as it is, for a script
    return OK
