"""`foothold shell`: be inside a guest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from foothold_lab.harness.cli.context import builder
from foothold_lab.harness.cli.kernel_options import guest_of, kernel_options, one_guest
from foothold_lab.harness.cli.runs import find_run

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import OwnKernels
    from foothold_lab.harness.subjects.subject import Root


@click.command()
@click.argument("words", nargs=-1, metavar="GUEST|RUN/GUEST [-- COMMAND...]")
@click.option("--limit", default="none", metavar="L", help="Narrow it: rlimit_as=300M, …")
@click.option(
    "--share",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Have this directory at hand on /host, instead of the current one.",
)
@click.option(
    "--root",
    type=click.Choice(["image", "host"]),
    default="image",
    help="Its root file system: ours, or read-only this machine's own.",
)
@click.option(
    "--memory",
    type=click.IntRange(64, 1 << 20),
    metavar="MIB",
    help="What a UML or QEMU guest has, in MiB.",
)
@kernel_options
def shell(
    words: tuple[str, ...],
    limit: str,
    share: Path | None,
    root: str,
    memory: int | None,
    own: OwnKernels,
) -> int:
    """Boot a guest and work in it: a shell on this terminal, or one command.

    The files of the current directory are on /host, read-only, and the allocator is
    /share/allocator/boot.py. Every key goes to the guest, Ctrl-C too; Ctrl-] three times leaves a
    guest that hangs. The exit code is that of the shell or of COMMAND, 128 and the number of
    the signal that ended it.

    RUN/GUEST is a guest that `foothold run --keep` keeps; RUN is as for `foothold show`.
    """
    from foothold_lab.harness.guests.host_dir import CannotBringError
    from foothold_lab.harness.interactive import shell as desk
    from foothold_lab.harness.interactive.guest_server import visit
    from foothold_lab.harness.interactive.terminal import Streams
    from foothold_lab.harness.model.cells import Limits
    from foothold_lab.harness.runner.run import PROGRAM_MEMORY
    from foothold_lab.harness.subjects.subject import ALLOCATOR

    streams = Streams()
    run, slash, label = words[0].rpartition("/") if words else ("", "", "")
    if slash:
        asked = desk.Wanted.by(streams, words[1:], Limits.parse(limit))
        return visit(find_run(run), label, asked, streams)
    maker = builder()
    name, command = guest_of(words, own, maker)
    wanted = desk.Wanted.by(streams, command, Limits.parse(limit))
    subject = replace(ALLOCATOR, root=cast("Root", root))
    if root == "host" and memory is None:
        memory = PROGRAM_MEMORY

    def work(here: Path | None) -> int:
        with one_guest(
            name,
            maker,
            quiet=not streams.interactive,
            own=own,
            here=here,
            memory=memory,
            subjects={subject.name: subject},
        ) as (guest, facts):
            start = desk.start_in(guest, here, share)
            return desk.shell(guest, facts, replace(wanted, directory=start), streams)

    try:
        return work(desk.at_hand(name, root, share))
    except CannotBringError as error:
        if share:
            raise
        click.echo(f"not on /host: {error}; {error.remedy}", err=True)
        return work(None)
