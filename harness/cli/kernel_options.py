"""What commands that boot guests take in common: kernels of the user's own, and one guest."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from foothold_lab.harness.cli.context import known, stop_as_by_ctrl_c

if TYPE_CHECKING:
    from foothold_lab.harness.guests.base import Guest
    from foothold_lab.harness.guests.custom_kernels import Mode, OwnKernels
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.images.builder import Builder

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--uml", type=_FILE, metavar="FILE", help="A UML kernel of your own."),
    click.option("--kernel", type=_FILE, metavar="FILE", help="A kernel of your own for QEMU."),
    click.option(
        "--initrd",
        type=_FILE,
        metavar="FILE",
        help="An initramfs for it, below ours: where both have a file, ours counts.",
    ),
    click.option(
        "--append",
        multiple=True,
        metavar="WORDS",
        help="Words for the command line of every kernel that is booted.",
    ),
    click.option(
        "--uml-mode",
        "mode",
        type=click.Choice(("seccomp", "ptrace")),
        default="seccomp",
        help="How a UML kernel holds its processes; one without seccomp, by ptrace.",
    ),
)


def kernel_options(function: F) -> F:
    """Add the options to a command, which gets them as one argument, `own`."""

    def together(**values: Any) -> Any:
        return function(own=_kernels(**{name: values.pop(name) for name in _NAMES}), **values)

    together.__doc__ = function.__doc__
    together.__name__ = function.__name__
    together.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        option(together)
    return cast("F", together)


_NAMES = ("uml", "kernel", "initrd", "append", "mode")


def guest_of(
    words: Sequence[str], own: OwnKernels, builder: Builder
) -> tuple[str, tuple[str, ...]]:
    """Take the guest that is asked for off the words of a command line, and return the rest too.

    A kernel of the user's own is a guest that need not be named. Raises UsageError.
    """
    own.check()
    if own.guests and not (words and words[0] in own.guests):
        return own.guests[0], tuple(words)
    if not words:
        raise click.UsageError("no guest is named; `foothold doctor` lists them")
    return known(builder, own).guest(words[0]), tuple(words[1:])


@contextlib.contextmanager
def one_guest(
    name: str, builder: Builder, *, quiet: bool = False, **options: Any
) -> Iterator[tuple[Guest, Facts]]:
    """Boot a guest, telling of it on stderr; `options` are those of a run."""
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import Terminal
    from foothold_lab.harness.runner import run as laboratory

    stop_as_by_ctrl_c()
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([Terminal(sys.stderr, live=False, quiet=quiet)]) as bus,
        laboratory.opened(
            name, laboratory.Options(Path(directory), builder, jobs=1, **options), bus
        ) as opened,
    ):
        yield opened.guest, opened.facts


def _kernels(
    uml: Path | None,
    kernel: Path | None,
    initrd: Path | None,
    append: tuple[str, ...],
    mode: Mode,
) -> OwnKernels:
    from foothold_lab.harness.guests.custom_kernels import OwnKernels

    words = tuple(word for each in append for word in each.split())
    # by their whole names: what is kept of a run has to be understood elsewhere
    files = [each.absolute() if each else None for each in (uml, kernel, initrd)]
    return OwnKernels(files[0], files[1], files[2], words, mode)
