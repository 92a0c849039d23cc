"""Subjects: what is deployed into a guest's share, and how it is started there."""

from __future__ import annotations

from pathlib import Path

from allocator import bundle
from harness.cells import Cell
from harness.guests.guest import Guest

FILE = "allocator.pyz"


def deploy(share: Path) -> None:
    """Put the default subject, as one file, into the directory that a guest will see."""
    bundle.write(share / FILE)


def command(cell: Cell, guest: Guest, *, trace: bool) -> tuple[str, ...]:
    """Return the command line of a cell's subject inside its guest.

    -I and -S: nothing of the guest's own configuration or site packages plays a part. With
    `trace` it reports its calls, for the trace to be held against.
    """
    return (
        guest.python, "-I", "-S", f"{guest.share}/{FILE}",
        "--policy", cell.policy, "--workload", cell.workload, "--hold",
        *(("--trace",) if trace else ()),
    )  # fmt: skip
