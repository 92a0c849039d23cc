"""The cost of a cell at the coordinator of many workers, and how well a whole run is packed.

Two tables. The first gives the events of a large run to the reporters of a run: terminal, run directory and
history. Workers judge their cells, so this is what remains for the coordinator. The second is a run with
the real coordinator and the real scheduler of Dask on simulated workers (simulated_workers.py): they
sleep as long as measured guests and cells take, divided by a factor that keeps the bench short.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from bench.history import FACTS, SEEN
from foothold_lab.harness.cluster.messages import Happened, Letter, decode, encode
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters import Bus, Reporter
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.reporters.terminal import TerminalReporter
from foothold_lab.harness.results_db.writer import HistoryReporter
from foothold_lab.images.builder import Builder

SIZES = (10_000, 100_000)
RUNS = (
    (732, 3), (732, 8), (732, 32), (10_000, 8), (10_000, 64), (10_000, 512),
    (100_000, 8), (100_000, 64), (100_000, 512),
)  # fmt: skip
# seconds of the run for each cell, at least: the process, which takes 6 ms, must not be the limit
SLEEP, SLEEP_OF_LARGE = 0.03, 0.0125
PACKED = 1.3  # times the ideal
CHUNK = 20  # cells of a guest
BOOT, CELL_SECONDS = 0.3, 0.3  # seconds, of uml-7.2 (docs/performance.md)
GOAL = 5.0  # milliseconds a cell


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Milliseconds of wall-clock and processor time a cell, and bytes of memory a cell: `plan` when the
    run starts, `growth` until its end.
    """

    wall: float
    processor: float
    plan: float
    growth: float

    def __str__(self) -> str:
        verdict = "met" if self.processor <= GOAL else "MISSED"
        return (
            f"{self.wall:10.2f} {self.processor:10.2f} {self.plan / 1000:10.2f} "
            f"{self.growth / 1000:10.2f}  {verdict}"
        )


def cells_of(count: int) -> list[Cell]:
    """Return cells of many guests."""
    return [
        Cell(guest=f"guest-{n // CHUNK}", limits=Limits(rlimit_as=(n % CHUNK + 1) << 20), policy="after")
        for n in range(count)
    ]  # fmt: skip


def verdict_on(cell: Cell) -> Verdict:
    """Return a verdict with the evidence of a real one."""
    return Verdict(
        cell=cell.id, result=Result.PASS, seconds=CELL_SECONDS, observed=SEEN, command=cell.command
    )


def run_events(cells: Sequence[Cell], directory: Path) -> Iterator[events.AnyEvent]:
    """Yield the events of a run that the coordinator has of its workers."""
    yield events.RunStarted(
        run=directory.name, plan="scaling", directory=str(directory), command=("foothold", "run"),
        cells=tuple(cells),
    )  # fmt: skip
    for number, cell in enumerate(cells):
        boot = f"{cell.guest}.1"
        if number % CHUNK == 0:
            yield events.GuestBooting(guest=cell.guest, boot=boot, images={"kernel": "kernel-1"})
            yield events.GuestReady(
                guest=cell.guest, boot=boot, seconds=BOOT, argv=("agent",), facts=FACTS,
                provenance={"kernel": "kernel-1"},
            )  # fmt: skip
        yield events.CellStarted(cell=cell.id)
        yield events.CellFinished(cell=cell.id, boot=boot, verdict=verdict_on(cell))
    yield events.RunFinished(seconds=1.0, counts={"pass": len(cells)})


def coordinator(count: int, *, live: bool) -> Cost:
    """Give the events of a run to the reporters; `live` draws the table of a terminal eight times a second."""
    cells = cells_of(count)
    with (
        tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder,
        Path(os.devnull).open("w") as screen,
    ):
        directory = Path(folder) / "run"
        reporters: list[Reporter] = [
            TerminalReporter(screen, live=live, quiet=not live),
            RunDirectoryReporter(directory),
            HistoryReporter(Path(folder) / "history.db"),
        ]
        memory = [_memory()]
        clock, processor = time.perf_counter(), time.process_time()
        with Bus(reporters) as bus:
            for event in run_events(cells, directory):
                if isinstance(event, events.RunFinished):
                    memory.append(_memory())
                bus(_received(event))
                if isinstance(event, events.RunStarted):
                    memory.append(_memory())
        before, begun, ended = memory
        return Cost(
            wall=(time.perf_counter() - clock) / count * 1000,
            processor=(time.process_time() - processor) / count * 1000,
            plan=(begun - before) / count,
            growth=(ended - begun) / count,
        )


def _received(event: events.AnyEvent) -> events.AnyEvent:
    """Return an event as it comes from a worker: with texts of its own."""
    if isinstance(event, events.RunStarted):
        return event
    letter: Letter = decode(encode(Letter(attempt=1, reports=(Happened(event=event),))), Letter)
    (report,) = letter.reports
    assert isinstance(report, Happened)
    return report.event


def _memory() -> int:
    """Return the memory that this process uses now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@click.command
@click.option("--cells", type=int, help="Measure only whole runs of so many cells.")
@click.option("--workers", type=int, help="Measure only whole runs on so many workers.")
def scaling(cells: int | None, workers: int | None) -> None:
    """Measure the coordinator and the scheduler of many workers."""
    chosen = [
        (count, size) for count, size in RUNS if cells in (None, count) and workers in (None, size)
    ]
    if (cells, workers) == (None, None):
        print_coordinator()
    print("a whole run: the coordinator, Dask and simulated workers in one process")
    for count, size in chosen:
        print(f"{count:12,} cells, {size:3} workers  {whole_run(count, size)}", flush=True)


def print_coordinator() -> None:
    """Print the table of the coordinator."""
    head = f"{'ms a cell':>10} {'cpu, ms':>10} {'kB, start':>10} {'kB, end':>10}"
    print(
        f"coordinator: terminal, run directory, history; goal {GOAL:.0f} ms of cpu a cell\n{'':24} {head}"
    )
    for count in SIZES:
        for live in (False, True):
            terminal = "live" if live else "quiet"
            print(f"{count:12,} cells {terminal:5} {coordinator(count, live=live)}", flush=True)
    print()


def whole_run(count: int, workers: int) -> str:
    """Run cells of the plan nightly on simulated workers, and describe how long that took."""
    from bench.simulated_workers import Times, ideal, measured, nightly, run

    builder = Builder()
    cells, times = nightly(count, builder), Times(known=measured(builder))
    factor = ideal(cells, workers, times) / (
        count * (SLEEP if count < SIZES[-1] else SLEEP_OF_LARGE)
    )
    processor, memory = time.process_time(), _memory()
    packing = run(cells, workers, replace(times, factor=factor))
    load, *_ = os.getloadavg()
    processor = (time.process_time() - processor) / count * 1000
    verdict = "met" if packing.ratio <= PACKED else "MISSED"
    return (
        f"{packing.seconds:7.1f} s, ideal {packing.ideal:6.1f} s: {packing.ratio:.2f} {verdict}; "
        f"sleeps / {factor:.3f}; {packing.chunks} chunks; cpu {processor:.2f} ms a cell; "
        f"{(_memory() - memory) / count / 1000:.1f} kB a cell; load {load:.0f}"
    )
