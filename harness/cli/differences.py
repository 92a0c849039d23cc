"""`foothold differences`: what kernels do otherwise than their ABI demands, as a page."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.runs import find_run


@click.command(short_help="Print how kernels differ from their ABI.")
@click.argument("run", default="last", metavar="[RUN]")
def differences(run: str) -> int:
    """Print what kernels do otherwise than their ABI demands, as a page in Markdown.

    RUN is `last` (default), or named as in `foothold show`; a run of the plan `conformance`.
    """
    from foothold_lab.harness.conformance import known_differences
    from foothold_lab.harness.conformance.markdown import page
    from foothold_lab.harness.conformance.run_reader import read_run

    print_text(page(read_run(find_run(run)), known_differences()))
    return OK
