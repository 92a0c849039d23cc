"""`foothold run --keep-guests`: guests that stay after a run, for `foothold shell`."""

from __future__ import annotations

import select
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from foothold_lab.harness.cli.context import runs_directory
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.parameters import gather
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.interactive.guest_server import GuestServer


@dataclass(frozen=True)
class KeepOptions:
    """Which guests are kept after a run, and for how many seconds at most."""

    keep: Literal["failed", "all"] | None
    keep_for: float | None

    def check(self) -> None:
        """Raise UsageError if nothing would end the wait, or if nothing is kept."""
        if self.keep and self.keep_for is None and not sys.stdin.isatty():
            raise UsageError(
                "--keep-guests waits until you end it, but standard input is not a terminal",
                "set a time limit: --keep-for 600",
            )
        if self.keep_for is not None and not self.keep:
            raise UsageError("--keep-for needs --keep-guests", "add --keep-guests failed")


keep_options = gather(
    "keeping",
    KeepOptions,
    [
        click.Option(
            ["--keep-guests", "keep"],
            type=click.Choice(["failed", "all"]),
            help="Keep guests for `foothold shell` after the run: all of them, or those in which "
            "a cell did not pass.",
        ),
        click.Option(
            ["--keep-for"],
            type=click.FloatRange(1),
            metavar="SECONDS",
            help="Keep them at most this long; required without a terminal.",
        ),
    ],
)


def wait_with_guests(kept: GuestServer, seconds: float | None) -> None:
    """List the guests that are kept, and let them be used until the user or the time ends it."""
    if not kept.names:
        return
    with kept.serve():
        for name in kept.names:
            command = f"foothold shell {_shortest_name(kept.directory)}/{name}"
            print_text(f"{name} is kept: {command}", err=True)
        waiting = [sys.stdin] if sys.stdin.isatty() else []
        ends = [f"after {seconds:g} s"] if seconds is not None else []
        ends += ["on Enter", "on Ctrl-C"] if waiting else []
        print_text(f"kept guests end {' or '.join(ends)}", err=True)
        try:
            select.select(waiting, [], [], seconds)
        except KeyboardInterrupt:
            click.echo(err=True)


def _shortest_name(directory: Path) -> str:
    """Return the shortest name by which `foothold shell` finds a run."""
    is_default = directory.parent == runs_directory()
    return directory.name if is_default else str(directory)
