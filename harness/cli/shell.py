"""`foothold shell`: be inside a guest."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from harness.cli.common import builder, known, stop_as_by_ctrl_c

if TYPE_CHECKING:
    from harness.desk.shell import Wanted
    from harness.desk.terminal import Streams
    from harness.subjects import Root
    from images.builder import Builder


@click.command()
@click.argument("guest", metavar="GUEST")
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]")
@click.option("--limit", "limit", default="none", metavar="L", help="Narrow it: rlimit_as=300M, …")
@click.option(
    "--share",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Have this directory at hand on /host, instead of the current one.",
)
@click.option(
    "--root",
    type=click.Choice(["image", "host"]),
    default="image",
    help="Its root file system: ours, or read-only this machine's own.",
)
def shell(guest: str, command: tuple[str, ...], limit: str, share: Path | None, root: str) -> int:
    """Boot a guest and work in it: a shell on this terminal, or one command.

    The files of the current directory are on /host, read-only, and the allocator is
    /share/allocator.pyz. Every key goes to the guest, Ctrl-C too; Ctrl-] three times leaves a
    guest that hangs. The exit code is that of the shell or of COMMAND, 128 and the number of
    the signal that ended it.
    """
    from harness.cells import Limits
    from harness.desk.shell import Wanted, at_hand
    from harness.desk.terminal import Streams
    from harness.guests.here import TooLargeError

    limits = Limits.parse(limit)
    streams = Streams()
    wanted = Wanted.by(streams, command, limits)
    maker = builder()
    name = known(maker).guest(guest)
    here = at_hand(name, root, share)
    stop_as_by_ctrl_c()
    try:
        return _booted(name, maker, wanted, streams, root, here, share)
    except TooLargeError as error:
        if share:
            raise
        click.echo(f"{error}: it is not on /host; --share DIR brings a smaller one", err=True)
        return _booted(name, maker, wanted, streams, root, None, None)


def _booted(
    name: str,
    maker: Builder,
    wanted: Wanted,
    streams: Streams,
    root: str,
    here: Path | None,
    share: Path | None,
) -> int:
    from harness import run as laboratory
    from harness.desk import shell as desk
    from harness.sinks import Bus
    from harness.sinks.terminal import Terminal
    from harness.subjects import Subject

    subject = Subject("shell", root=cast("Root", root))
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([Terminal(sys.stderr, live=False, quiet=not streams.interactive)]) as bus,
    ):
        options = laboratory.Options(
            directory=Path(directory), builder=maker, jobs=1, subject=subject, here=here
        )
        with laboratory.booted(name, options, bus) as (guest, facts):
            start = desk.start_in(guest, here, share)
            return desk.shell(guest, facts, replace(wanted, directory=start), streams)
