"""`foothold gdb`: a debugger on the kernel of a UML guest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import make_builder
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.kernel_options import boot_guest, kernel_options, split_guest

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import CustomKernels


@click.command(short_help="Attach gdb to the kernel of a UML guest.")
@click.argument("words", nargs=-1, metavar="GUEST [-- PROGRAM [ARG]...]")
@click.option(
    "--command",
    "commands",
    multiple=True,
    metavar="COMMAND",
    help="Give gdb this command first, for example 'break do_mmap'; repeatable.",
)
@click.option("--batch", is_flag=True, help="Exit when these commands are done.")
@kernel_options
def gdb(
    words: tuple[str, ...], commands: tuple[str, ...], batch: bool, kernels: CustomKernels
) -> int:
    """Boot a UML guest, and attach gdb to the process that is its kernel.

    The kernel stops until you type `continue`; then PROGRAM starts in the guest. Signals that the
    kernel needs are passed on. Symbols come from the kernel, or from /proc/kallsyms of the guest.
    Meanwhile, `foothold shell` from another terminal can work in the guest: its command line is
    printed.
    """
    from foothold_lab.harness.interactive.gdb import debug_kernel
    from foothold_lab.harness.interactive.guest_server import GuestServer

    builder = make_builder()
    name, program = split_guest(words, kernels, builder)
    with (
        tempfile.TemporaryDirectory(prefix="foothold-gdb-") as scratch,
        boot_guest(name, builder, custom_kernels=kernels) as (guest, facts),
    ):
        directory = Path(scratch)
        kept = GuestServer(directory)
        kept.take_over(name, guest, facts, lambda: None)
        with kept.serve():
            if not batch:
                shell = f"foothold shell {directory}/{name}"
                print_text(f"shell in the guest, from another terminal: {shell}", err=True)
            return debug_kernel(guest, facts, directory, commands, program, batch=batch)
