"""`foothold doctor`: which guests this machine can boot."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import OK, make_builder


@click.command(short_help="Check which guests this machine can boot.")
def doctor() -> int:
    """Check for each guest whether this machine can boot it, and what is missing."""
    from foothold_lab.harness.guests.doctor import examine

    checks = examine(make_builder())
    width = max((len(check.guest) for check in checks), default=0)
    for check in checks:
        mark = click.style("ok", "green") if check.ok else click.style("no", "yellow")
        click.echo(f"{mark}  {check.guest:<{width}}  {check.reason}".rstrip())
        lines = [f"note: {note}" for note in check.notes]
        if not check.ok and check.remedy:
            lines.append(f"remedy: {check.remedy}")
        for line in lines:
            click.echo(f"    {'':<{width}}  {line}")
    return OK
