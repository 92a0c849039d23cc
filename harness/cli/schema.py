"""`foothold schema`: what the results of a run look like, for programs that read them."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import OK


@click.command()
@click.option("--markdown", is_flag=True, help="For people, as docs/result-schema.md has it.")
def schema(markdown: bool) -> int:
    """Print the JSON Schema of what `run --json` writes."""
    import msgspec

    from foothold_lab.harness.reporters import schema as described

    if markdown:
        click.echo(described.page(), nl=False)
        return OK
    whole = msgspec.json.encode(described.schema())
    click.echo(msgspec.json.format(whole, indent=1))
    return OK
