"""`foothold help`: the help of a command."""

from __future__ import annotations

import click

from foothold_lab.harness.model.errors import did_you_mean


@click.command(short_help="Show the help of a command.")
@click.argument("command", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help(context: click.Context, command: tuple[str, ...]) -> None:
    """Show the help of a command, or the list of all commands.

    The same as COMMAND --help.
    """
    shown = context.find_root()
    for name in command:
        group = shown.command
        found = group.get_command(shown, name) if isinstance(group, click.Group) else None
        if found is None:
            names = group.list_commands(shown) if isinstance(group, click.Group) else ()
            where = f"{shown.command_path} {name}"
            raise click.UsageError(f"No such command {where!r}{did_you_mean(name, names)}", shown)
        shown = click.Context(found, info_name=name, parent=shown)
    click.echo(shown.get_help())
