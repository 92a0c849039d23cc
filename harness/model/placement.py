"""Guests that are the machine of a worker: `native@NAME`, `docker@NAME`, and `native@*` of a plan."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError

NATIVE = "native"
PLACED = (NATIVE, "docker")
EVERY = "*"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # of a worker, its machine, or a label


def parse_placement(name: str) -> str:
    """Return `name` if it is that of a guest on a worker, else an empty text. Raises UsageError if
    the name of the worker cannot be one.
    """
    _, worker = split_placement(name)
    if worker and worker != EVERY and not NAME.fullmatch(worker):
        raise UsageError(
            f"{name[:100]!r}: {worker[:63]!r} is not the name of a worker",
            "write native@NAME, with the name of a worker, its machine or a label; or native@*",
        )
    return name if worker else ""


def split_placement(name: str) -> tuple[str, str]:
    """Return the guest and the worker of `native@NAME`; the worker is empty for any other guest."""
    guest, at, worker = name.partition("@")
    return (guest, worker) if at and guest in PLACED else (name, "")


def of_worker(guest: str, worker: str) -> str:
    """Return the name of a guest on one worker."""
    return f"{guest}@{worker}"


def on_every_worker(guest: str) -> str:
    """Return `native@*` for `native@NAME`; the name itself for any other guest."""
    kind, worker = split_placement(guest)
    return of_worker(kind, EVERY) if worker else guest


def with_every_machine(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return cells with the same cells of `native@*` after those of `native`."""
    every = of_worker(NATIVE, EVERY)
    placed: list[Cell] = []
    for guest, each in groupby(cells, key=lambda cell: cell.guest):
        group = list(each)
        placed += group
        if guest == NATIVE:
            placed += [replace(cell, guest=every) for cell in group]
    return tuple(placed)


def place(
    cells: Iterable[Cell], workers: Sequence[str], options: tuple[str, ...]
) -> tuple[Cell, ...]:
    """Return cells with one for each worker in place of each cell of `native@*`. `options` select the
    cluster on the command line of a cell of a worker's machine.
    """
    placed = []
    for cell in cells:
        guest, worker = split_placement(cell.guest)
        names = workers if worker == EVERY else [worker]
        for name in names if worker else ():
            chosen = of_worker(guest, name)
            placed.append(replace(cell, guest=chosen, where=("--guest", chosen, *options)))
        if not worker:
            placed.append(cell)
    return tuple(placed)
