"""`foothold differences`: what kernels do otherwise than their ABI demands, as a page."""

from __future__ import annotations

from pathlib import Path

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import print_text


@click.command(short_help="Print how kernels differ from their ABI.")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
def differences(run: Path) -> int:
    """Print what kernels do otherwise than their ABI demands, as a page in Markdown.

    RUN is the directory of a run of the plan `conformance`.
    """
    from foothold_lab.harness.conformance import known_differences
    from foothold_lab.harness.conformance.markdown import page
    from foothold_lab.harness.conformance.run_reader import read_run

    print_text(page(read_run(run), known_differences()))
    return OK
