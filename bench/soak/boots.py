"""Many boots of each guest under load. One cell runs after each boot.

An end is unexplained if the cell does not pass. A guest that this machine cannot boot is left out,
with the reason.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click

from bench import guests
from bench.soak.load import neighbour
from foothold_lab.harness.guests.base import GuestConfig
from foothold_lab.harness.guests.catalogue import GuestType, catalogue
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.runner.options import RunOptions
from foothold_lab.images.builder import Builder

SECONDS = 300  # of a boot and its cell: the processors are busy
SANDBOXES = ("docker", "gvisor", "bubblewrap", "nspawn")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A guest to boot `count` times, cold or from its snapshot."""

    kind: GuestType
    how: str
    count: int

    @property
    def name(self) -> str:
        """The guest and how it starts, as the table prints them."""
        return f"{self.kind.name} {self.how}".strip()


def rows(builder: Builder, counts: dict[str, int]) -> Iterator[Row]:
    """Yield a row for each way in which each guest of this machine starts."""
    for name, kind in catalogue(builder).items():
        if name.startswith("uml"):
            yield Row(kind=kind, how="", count=counts["uml"])
        elif name.startswith("qemu-") and not name.startswith("qemu-user"):
            yield Row(kind=kind, how="cold", count=counts["cold"])
            yield Row(kind=kind, how="restored", count=counts["restored"])
        elif name in SANDBOXES:
            yield Row(kind=kind, how="", count=counts["sandboxes"])


def boot(row: Row, builder: Builder, cpu: int) -> float:
    """Boot once and run a cell; return the seconds. Any error is that of the guest or the cell."""
    with guests.workplace(builder, row.kind) as place:
        place = replace(place, cpu=cpu, snapshots=row.how != "cold")
        guest = row.kind.make(place)
        started = time.perf_counter()
        try:
            facts = guest.boot(Deadline.after(SECONDS))
            guests.cell(guest, facts, Cell(guest=row.kind.name, limits=Limits(), policy="after"))
            return time.perf_counter() - started
        finally:
            guest.stop()


def measure(row: Row, builder: Builder) -> tuple[list[float], Counter[str]]:
    """Boot a guest as often as its row says, on all processors at once."""
    ends: Counter[str] = Counter()
    taken: list[float] = []
    guard = threading.Lock()
    processors = RunOptions(directory=Path(), builder=builder).processors
    free = list(processors)

    def once(_: int) -> None:
        with guard:
            cpu = free.pop()
        try:
            seconds = boot(row, builder, cpu)
        except Exception as error:  # each kind of end is counted
            with guard:
                ends[f"{type(error).__name__}: {error}"[:300]] += 1
        else:
            with guard:
                taken.append(seconds)
        finally:
            with guard:
                free.append(cpu)

    with ThreadPoolExecutor(len(processors)) as pool:
        list(pool.map(once, range(row.count)))
    return taken, ends


def unsupported(row: Row, builder: Builder) -> str:
    """Return why this machine cannot boot a guest, an empty text if it can."""
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
        share = Path(folder) / "share"
        share.mkdir()
        config = GuestConfig(directory=Path(folder), share=share, builder=builder)
        support = row.kind.make(config).supported()
    return "" if support.ok else support.reason


@click.command
@click.option("--guest", "only", multiple=True, help="Boot only guests whose name begins so.")
@click.option("--uml", default=1000, show_default=True, help="Boots of each UML guest.")
@click.option("--cold", default=200, show_default=True, help="Cold boots of each QEMU guest.")
@click.option("--restored", default=500, show_default=True, help="Restored boots of each.")
@click.option("--sandboxes", default=500, show_default=True, help="Starts of each sandbox.")
@click.option("--load/--no-load", default=True, show_default=True, help="Have a busy neighbour.")
def boots(only: tuple[str, ...], load: bool, **counts: int) -> None:
    """Boot each guest many times; count the unexplained ends, which should be 0."""
    builder = Builder()
    chosen = [each for each in rows(builder, counts) if not only or each.name.startswith(only)]
    print("| guest | starts | unexplained ends | median, s | worst, s |")
    print("|---|---|---|---|---|")
    with neighbour() if load else contextlib.nullcontext():
        bad = sum(map(print_row, chosen, itertools.repeat(builder)))
    raise SystemExit(1 if bad else 0)


def print_row(row: Row, builder: Builder) -> int:
    """Measure one row and print it; return the number of unexplained ends."""
    if not row.count:
        return 0
    if reason := unsupported(row, builder):
        print(f"| {row.name} | unsupported: {reason} | | | |", flush=True)
        return 0
    taken, ends = measure(row, builder)
    times = (f"{figure(taken):.2f}" if taken else "–" for figure in FIGURES)
    print(f"| {row.name} | {row.count} | {ends.total()} | {' | '.join(times)} |", flush=True)
    for end, count in ends.most_common():
        click.echo(f"{row.name}: {count} times: {end}", err=True)
    return ends.total()


FIGURES: tuple[Callable[[list[float]], float], ...] = (statistics.median, max)
