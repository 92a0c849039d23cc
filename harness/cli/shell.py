"""`foothold shell`: a shell, or a command, in a guest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from foothold_lab.harness.cli.context import make_builder
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.kernel_options import boot_guest, kernel_options, split_guest
from foothold_lab.harness.cli.runs import find_run

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import CustomKernels
    from foothold_lab.harness.interactive.shell import ProgramRequest
    from foothold_lab.harness.interactive.terminal import Streams
    from foothold_lab.harness.subjects.subject import Root
    from foothold_lab.images.builder import Builder


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """How a guest is set up for work in it."""

    share: Path | None
    root: str
    memory: int | None
    kernels: CustomKernels


@click.command(short_help="Open a shell in a guest, or run a command.")
@click.argument("words", nargs=-1, metavar="GUEST|RUN/GUEST [-- COMMAND [ARG]...]")
@click.option(
    "--limit",
    default="none",
    show_default=True,
    metavar="LIMIT",
    help="Work under this limit: rlimit_as=300M, …",
)
@click.option(
    "--share",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Show this directory on /host (default: the current directory).",
)
@click.option(
    "--root",
    type=click.Choice(["image", "host"]),
    default="image",
    show_default=True,
    help="Root file system: Foothold's image, or this machine's own, read-only.",
)
@click.option(
    "--memory",
    type=click.IntRange(64, 1 << 20),
    metavar="MIB",
    help="Memory of a UML or QEMU guest (default: 2048, as for a program in `foothold run`).",
)
@kernel_options
def shell(words: tuple[str, ...], limit: str, **setup: Any) -> int:
    """Boot a guest and open a shell in it, or run one command.

    The current directory is on /host, read-only, and the allocator is /share/allocator/boot.py.
    All keys go to the guest, including Ctrl-C. Press Ctrl-] three times to leave a guest that
    hangs. The exit code is that of the shell or of COMMAND, or 128 plus the number of the signal
    that killed it.

    RUN/GUEST is a guest that `foothold run --keep-guests` keeps; RUN is as in `foothold show`.
    """
    from foothold_lab.harness.interactive.guest_server import attach
    from foothold_lab.harness.interactive.shell import ProgramRequest
    from foothold_lab.harness.interactive.terminal import Streams
    from foothold_lab.harness.model.cells import Limits
    from foothold_lab.harness.model.container_name import parse_container

    chosen = _Setup(**setup)
    streams, limits = Streams(), Limits.parse(limit)
    first = words[0] if words else ""
    run, slash, label = first.rpartition("/")
    if slash and not parse_container(first):  # the name of an image has slashes too
        return attach(
            find_run(run), label, ProgramRequest.from_streams(streams, words[1:], limits), streams
        )
    builder = make_builder()
    name, command = split_guest(words, chosen.kernels, builder)
    return _boot_and_work(
        name, chosen, ProgramRequest.from_streams(streams, command, limits), streams, builder
    )


def _boot_and_work(
    name: str, setup: _Setup, wanted: ProgramRequest, streams: Streams, builder: Builder
) -> int:
    from foothold_lab.harness.guests.catalogue import catalogue, find_guest
    from foothold_lab.harness.guests.host_dir import CannotBringError
    from foothold_lab.harness.interactive.shell import (
        run_in_guest,
        shared_directory,
        start_directory,
    )
    from foothold_lab.harness.runner import PROGRAM_MEMORY
    from foothold_lab.harness.subjects.subject import ALLOCATOR

    kind = find_guest(catalogue(builder, setup.kernels), name)
    subject = replace(ALLOCATOR, root=cast("Root", setup.root))

    def work(shared: Path | None) -> int:
        with boot_guest(
            name,
            builder,
            quiet=not streams.interactive,
            custom_kernels=setup.kernels,
            host_directory=shared,
            memory=setup.memory or PROGRAM_MEMORY,
            subjects={subject.name: subject},
        ) as (guest, facts):
            directory = start_directory(guest, shared, setup.share)
            return run_in_guest(guest, facts, replace(wanted, directory=directory), streams)

    try:
        return work(shared_directory(kind.capabilities, setup.root, setup.share))
    except CannotBringError as error:
        if setup.share:
            raise
        print_text(f"not on /host: {error}; {error.remedy}", err=True)
        return work(None)
