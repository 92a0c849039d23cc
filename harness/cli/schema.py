"""`foothold schema`: what the results of a run look like, for programs that read them."""

from __future__ import annotations

import click

from harness.cli.common import OK


@click.command()
def schema() -> int:
    """Print the JSON Schema of what `run --json` writes."""
    import msgspec

    from harness.sinks.document import Document

    described = msgspec.json.schema(Document)
    click.echo(msgspec.json.format(msgspec.json.encode(described), indent=1))
    return OK
