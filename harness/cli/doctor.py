"""`foothold doctor`: which guests this machine can boot."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import OK, make_builder


@click.command(short_help="Check which guests this machine can boot.")
@click.argument("machines", nargs=-1, metavar="[ssh:USER@HOST]...")
def doctor(machines: tuple[str, ...]) -> int:
    """Check for each guest whether this machine can boot it, and what is missing.

    With the address of a machine, log in there by SSH and check whether it can be used as a guest.
    """
    from foothold_lab.harness.guests.doctor import examine, examine_machine
    from foothold_lab.harness.model.ssh_address import SshAddress

    builder = make_builder()
    names = [str(SshAddress.parse(each)) for each in machines]
    checks = [examine_machine(each, builder) for each in names] if names else examine(builder)
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
