"""`foothold run --keep`, and how its guests are called afterwards."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from foothold_lab.harness.cli.context import state
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.interactive.guest_server import Kept

F = TypeVar("F", bound=Callable[..., Any])
Keep = Literal["failed", "all"]


def keep_options(function: F) -> F:
    """Add --keep and --keep-for to a command."""
    for option in (
        click.option(
            "--keep-for",
            type=click.FloatRange(1),
            metavar="S",
            help="At most that many seconds; without a terminal it must be given.",
        ),
        click.option(
            "--keep",
            type=click.Choice(["failed", "all"]),
            help="Keep guests, all or those of cells that did not pass, for a shell.",
        ),
    ):
        function = option(function)
    return function


def check(keep: Keep | None, seconds: float | None) -> None:
    """Raise UsageError if guests were kept for ever, or not at all."""
    if keep and seconds is None and not sys.stdin.isatty():
        raise UsageError(
            "--keep waits for somebody to end it, and there is no terminal",
            "say how long at most: --keep-for 600",
        )
    if seconds is not None and not keep:
        raise UsageError("--keep-for is about --keep", "add --keep failed")


def stay(kept: Kept, seconds: float | None) -> None:
    """Say which guests are kept and how to get in, and stay until they are wanted no longer."""
    if not kept.names:
        return
    with kept.reachable():
        for name in kept.names:
            click.echo(f"{name} is kept: foothold shell {_called(kept.directory)}/{name}", err=True)
        waiting = [sys.stdin] if sys.stdin.isatty() else []
        until = [f"after {seconds:g} s"] if seconds is not None else []
        until += ["by Enter", "by Ctrl-C"] if waiting else []
        click.echo(f"it ends {' or '.join(until)}", err=True)
        try:
            select.select(waiting, [], [], seconds)
        except KeyboardInterrupt:
            click.echo(err=True)


def _called(directory: Path) -> str:
    """The shortest name by which a run is found."""
    return directory.name if directory.parent == state() / "runs" else str(directory)
