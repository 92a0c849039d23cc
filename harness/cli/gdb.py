"""`foothold gdb`: a debugger on the kernel of a UML guest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import builder
from foothold_lab.harness.cli.kernel_options import guest_of, kernel_options, one_guest

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import OwnKernels


@click.command()
@click.argument("words", nargs=-1, metavar="GUEST [-- PROGRAM...]")
@click.option(
    "--command",
    "commands",
    multiple=True,
    metavar="C",
    help="A command of gdb's, given before you can: break do_mmap.",
)
@click.option("--batch", is_flag=True, help="End when the commands are done.")
@kernel_options
def gdb(words: tuple[str, ...], commands: tuple[str, ...], batch: bool, own: OwnKernels) -> int:
    """Boot a UML guest, and attach gdb to the process that is its kernel.

    The kernel's signals are passed on to it, and its functions have names, of its own or out
    of the guest's /proc/kallsyms. It is stopped until you say `continue`. PROGRAM is started in
    the guest as soon as it goes on; a shell can be had meanwhile from another terminal.
    """
    from foothold_lab.harness.interactive import gdb as desk
    from foothold_lab.harness.interactive.guest_server import Kept

    maker = builder()
    name, program = guest_of(words, own, maker)
    with (
        tempfile.TemporaryDirectory(prefix="foothold-gdb-") as scratch,
        one_guest(name, maker, own=own) as (guest, facts),
    ):
        directory = Path(scratch)
        kept = Kept(directory)
        kept.take(name, guest, facts, lambda: None)
        with kept.reachable():
            if not batch:
                click.echo(f"while it runs: foothold shell {directory}/{name}", err=True)
            return desk.debug(guest, facts, directory, commands, program, batch=batch)
