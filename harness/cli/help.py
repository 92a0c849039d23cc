"""`foothold help`: the help of a command."""

from __future__ import annotations

import click

from foothold_lab.harness.model.errors import did_you_mean


@click.command(short_help="Show the help of a command.")
@click.argument("command", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help(context: click.Context, command: tuple[str, ...]) -> None:
    """Show the help of a command, or the list of all commands.

    The same as COMMAND --help. `foothold help limits` explains every limit.
    """
    shown = context.find_root()
    if command == ("limits",):
        click.echo(_limits())
        return
    for name in command:
        group = shown.command
        found = group.get_command(shown, name) if isinstance(group, click.Group) else None
        if found is None:
            names = group.list_commands(shown) if isinstance(group, click.Group) else ()
            where = f"{shown.command_path} {name}"
            raise click.UsageError(f"No such command {where!r}{did_you_mean(name, names)}", shown)
        shown = click.Context(found, info_name=name, parent=shown)
    click.echo(shown.get_help())


def _limits() -> str:
    from foothold_lab.harness.model.limits import EXPLAINED

    formatter = click.HelpFormatter(max_width=100)
    formatter.write_text("Limits narrow the address space of a subject. Join several with +.")
    with formatter.section("Limits"):
        formatter.write_dl(EXPLAINED, col_max=34)
    formatter.write_paragraph()
    formatter.write_text(
        "A cell whose guest cannot apply its limit is unsupported: docs/limits.md."
    )
    return formatter.getvalue().rstrip()
