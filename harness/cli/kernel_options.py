"""Kernels of the user, and one guest booted with or without them."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.cli.context import handle_termination, make_vocabulary
from foothold_lab.harness.cli.parameters import gather

if TYPE_CHECKING:
    from foothold_lab.harness.guests.base import Guest
    from foothold_lab.harness.guests.custom_kernels import CustomKernels, Mode
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.images.builder import Builder

_FILE = click.Path(path_type=Path)


def _make_kernels(
    uml: Path | None,
    kernel: Path | None,
    initrd: Path | None,
    append: tuple[str, ...],
    mode: Mode,
) -> CustomKernels:
    from foothold_lab.harness.guests.custom_kernels import CustomKernels

    words = tuple(word for each in append for word in each.split())
    # absolute paths without links: the record of a run must be understood from other directories and
    # later, and a kernel finds its loader and libraries beside it
    files = [each.resolve() if each else None for each in (uml, kernel, initrd)]
    return CustomKernels(uml=files[0], qemu=files[1], initrd=files[2], append=words, mode=mode)


kernel_options = gather(
    "kernels",
    _make_kernels,
    [
        click.Option(
            ["--uml"],
            type=_FILE,
            metavar="FILE",
            help="Boot your own UML kernel; its guest is called uml-own.",
        ),
        click.Option(
            ["--kernel"],
            type=_FILE,
            metavar="FILE",
            help="Boot your own x86-64 kernel in QEMU; its guest is called qemu-own.",
        ),
        click.Option(
            ["--initrd"],
            type=_FILE,
            metavar="FILE",
            help="Base initramfs for --kernel; files of Foothold override it.",
        ),
        click.Option(
            ["--append"],
            multiple=True,
            metavar="WORDS",
            help="Add words to the command line of every kernel; repeatable.",
        ),
        click.Option(
            ["--uml-mode", "mode"],
            type=click.Choice(("seccomp", "ptrace")),
            default="seccomp",
            show_default=True,
            help="How a UML kernel controls its processes. A kernel without seccomp mode uses "
            "ptrace.",
        ),
    ],
)


def split_guest(
    words: Sequence[str], kernels: CustomKernels, builder: Builder
) -> tuple[str, tuple[str, ...]]:
    """Split the arguments of a command into the canonical name of a guest, and the rest.

    With a kernel of the user, the guest may be left out. Raises UsageError.
    """
    kernels.check()
    if kernels.guests and not (words and words[0] in kernels.guests):
        return kernels.guests[0], tuple(words)
    if not words:
        raise click.UsageError("no guest is given; `foothold doctor` lists all guests")
    return make_vocabulary(builder, kernels).resolve_guest(words[0]), tuple(words[1:])


@contextlib.contextmanager
def boot_guest(
    name: str, builder: Builder, *, quiet: bool = False, **options: Any
) -> Iterator[tuple[Guest, Facts]]:
    """Boot a guest, with progress on stderr. `options` are those of a run."""
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import TerminalReporter
    from foothold_lab.harness.runner import RunOptions, open_guest

    handle_termination()
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([TerminalReporter(sys.stderr, live=False, quiet=quiet)]) as bus,
        open_guest(
            name, RunOptions(directory=Path(directory), builder=builder, jobs=1, **options), bus
        ) as booted,
    ):
        yield booted.guest, booted.facts
