"""`foothold schema`: the format of the results that `run --json` writes."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import print_json


@click.command(short_help="Print the JSON Schema of the results.")
@click.option("--markdown", is_flag=True, help="Print it as a Markdown page instead.")
def schema(markdown: bool) -> int:
    """Print the JSON Schema of the results that `run --json` writes."""
    from foothold_lab.harness.reporters.schema import page
    from foothold_lab.harness.reporters.schema import schema as result_schema

    if markdown:
        click.echo(page(), nl=False)
    else:
        print_json(result_schema())
    return OK
