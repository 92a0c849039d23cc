"""`foothold plan`: what would be run."""

from __future__ import annotations

import click

from harness.cli.common import OK, builder, read_plan


@click.command()
@click.argument("plan", default="default", metavar="[PLAN]")
@click.option("--guest", "guests", multiple=True, metavar="G", help="This guest instead.")
@click.option("--limit", "limits", multiple=True, metavar="L", help="none, rlimit_as=300M, …")
@click.option("--policy", "policies", multiple=True, metavar="P", help="This policy instead.")
def plan(
    plan: str, guests: tuple[str, ...], limits: tuple[str, ...], policies: tuple[str, ...]
) -> int:
    """List a plan's cells and what it declares of each; boots nothing."""
    read = read_plan(plan, builder())
    cells = read.cells(guests, limits, policies)
    click.echo(f"{read.name}: {read.description}" if read.description else read.name)
    width = max(len(cell.id) for cell in cells)
    for cell in cells:
        click.echo(f"{cell.id:<{width}}  {cell.declared or '(the oracle alone decides)'}")
    click.echo(f"{len(cells)} cells")
    return OK
