"""`foothold facts` and `foothold doctor`: what a guest's address space is like; what can boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK, builder
from foothold_lab.harness.cli.kernel_options import guest_of, kernel_options, one_guest

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import OwnKernels

SECONDS = 30.0  # of a guest of native speed


@click.command()
@click.argument("guest", required=False)
@click.option("--limit", default="none", metavar="L", help="Under this: ceiling=39bit, no-aslr, …")
@kernel_options
def facts(guest: str | None, limit: str, own: OwnKernels) -> int:
    """Boot a guest and say what its address space is like, as JSON.

    With --uml or --kernel the guest need not be named.
    """
    import msgspec

    from foothold_lab.harness.guests.limit_support import narrowed
    from foothold_lab.harness.model.deadline import Deadline
    from foothold_lab.harness.model.limits import Limits

    limits = Limits.parse(limit)
    maker = builder()
    name, _ = guest_of((guest,) if guest else (), own, maker)
    with one_guest(name, maker, own=own) as (booted, measured):
        if limits.named:
            measured = narrowed(booted, measured, limits, Deadline.after(SECONDS * booted.scale))
        click.echo(msgspec.json.format(msgspec.json.encode(measured), indent=1))
    return OK


@click.command()
def doctor() -> int:
    """Say for each guest whether this machine can boot it, why not, and the remedy."""
    from foothold_lab.harness.guests.doctor import examine

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
