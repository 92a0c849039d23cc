"""`foothold facts` and `foothold doctor`: what a guest's address space is like; what can boot."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.common import OK, builder, known, stop_as_by_ctrl_c


@click.command()
@click.argument("guest")
@click.option("--limit", default="none", metavar="L", help="Under this: ceiling=39bit, no-aslr, …")
def facts(guest: str, limit: str) -> int:
    """Boot a guest and say what its address space is like, as JSON."""
    import tempfile

    import msgspec

    from harness import run as laboratory
    from harness.limits import Limits
    from harness.sinks import Bus
    from harness.sinks.terminal import Terminal

    limits = Limits.parse(limit)
    maker = builder()
    name = known(maker).guest(guest)
    stop_as_by_ctrl_c()
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([Terminal(sys.stderr, live=False)]) as bus,
    ):
        options = laboratory.Options(directory=Path(directory), builder=maker, jobs=1)
        measured = laboratory.facts_of(name, options, bus, limits)
    click.echo(msgspec.json.format(msgspec.json.encode(measured), indent=1))
    return OK


@click.command()
def doctor() -> int:
    """Say for each guest whether this machine can boot it, why not, and the remedy."""
    from harness.doctor import examine

    checks = examine(builder())
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
