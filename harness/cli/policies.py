"""`foothold policies`: the versions of the allocator's reservation code."""

from __future__ import annotations

import textwrap

import click


@click.command(short_help="Explain the versions of the allocator's code.")
def policies() -> None:
    """Explain the policies: versions of Go's code that reserves the heap."""
    from foothold_lab.allocator.policy import POLICIES

    for policy in POLICIES.values():
        click.echo(f"{policy.name}  ({policy.date}, {policy.commit})")
        click.echo(textwrap.indent(textwrap.fill(policy.explanation, 90), "    "))
