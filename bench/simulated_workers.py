"""Workers of a cluster that boot nothing: the real coordinator and the real scheduler of Dask, and
tasks that sleep as long as measured guests and cells take, divided by a factor.

Each task tells what a real one does, in as many messages: its guest, each cell, the evidence of each
cell. All workers are threads of this process, so their work is in the figures too.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dask
import msgspec
from distributed import Client, LocalCluster, Worker, get_worker

from bench.history import FACTS, SEEN
from foothold_lab.harness.cli.context import history_file, read_plan
from foothold_lab.harness.cluster import work
from foothold_lab.harness.cluster.connection import Cluster
from foothold_lab.harness.cluster.coordinator import ClusterWorkforce
from foothold_lab.harness.cluster.machine import FACTS as TOLD
from foothold_lab.harness.cluster.machine import resources_of
from foothold_lab.harness.cluster.messages import Ended, EvidencePart, Happened, Order, Started
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.model import events, provenance
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.model.workers import WorkerFacts
from foothold_lab.harness.plan import Selection
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.reader import median_boots, median_durations
from foothold_lab.harness.results_db.writer import HistoryReporter
from foothold_lab.harness.runner import RunOptions, run_cells
from foothold_lab.images.builder import Builder

EVIDENCE = (6000, 5000, 5000, 2000, 150, 0)  # bytes of the files of a cell (nightly, uml-7.2)
# what each worker does besides its tasks, which would be on a machine of its own
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "600s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.tick.interval": "600s",
    "distributed.admin.tick.limit": "600s",
    "distributed.admin.tick.cycle": "600s",
    "distributed.worker.use-file-locking": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long cells and boots take, in seconds: medians of the history, or else of all cells."""

    known: Mapping[str, float]
    factor: float = 1.0

    def of(self, name: str) -> float:
        """Return the time of a cell, or of the boot of a guest."""
        return (self.known.get(name) or statistics.median(self.known.values())) / self.factor


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A run on simulated workers: its time, and the least time that is possible, in seconds."""

    chunks: int
    seconds: float
    ideal: float

    @property
    def ratio(self) -> float:
        """How many times longer than possible it took."""
        return self.seconds / self.ideal


_times = Times(known={"": 0.3})


def nightly(count: int, builder: Builder) -> list[Cell]:
    """Return the cells of the plan nightly, repeated until there are so many."""
    cells = [each for each in read_plan("nightly", builder).cells(Selection()) if each.repeat == 1]
    repeats = -(-count // len(cells))
    many = [replace(cell, repeat=number) for cell in cells for number in range(1, repeats + 1)]
    return sorted(many, key=lambda cell: cell.repeat)[:count]


def measured(builder: Builder) -> Mapping[str, float]:
    """Return the times of the cells and guests of the plan nightly in the history of this user; where
    that has none, those of the catalogue.
    """
    kinds = catalogue(builder)
    found = {name: kind.boot_seconds for name, kind in kinds.items()}
    found |= {cell.id: kinds[cell.guest].cell_seconds for cell in nightly(1, builder)}
    if (file := history_file(None)).exists():
        with Database(file, read_only=True) as database:
            found |= median_boots(database) | median_durations(database)
    return found


def run(cells: Sequence[Cell], workers: int, times: Times) -> Packing:
    """Run cells on simulated workers, into a run directory and a history."""
    global _times
    _times = times
    dask.config.set(QUIET)
    builder = Builder()
    joined = list[events.AnyEvent]()
    with (
        tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder,
        _workers(workers, Path(folder)) as cluster,
        Bus(_reporters(Path(folder))) as bus,
    ):
        options = RunOptions(directory=Path(folder) / "run", builder=builder)
        options.directory.mkdir(exist_ok=True)

        def emit(event: events.AnyEvent) -> None:
            if isinstance(event, events.GuestReady):
                joined.append(event)
            bus(event)

        known = typical(cells, times)
        workforce = ClusterWorkforce(cluster, options, emit, known, task=simulate)
        started = time.monotonic()
        summary = run_cells(cells, options, emit, workforce)
        seconds = time.monotonic() - started
    if summary.counts != {Result.PASS.value: len(cells)}:
        raise SystemExit(f"not all cells have passed: {summary.counts}")
    return Packing(chunks=len(joined), seconds=seconds, ideal=ideal(cells, workers, times))


def simulate(run_name: str, attempt: int) -> None:
    """Do what `work` does, without guests. A task of Dask."""
    worker = get_worker()
    line = work.Line(worker, run_name, attempt)
    line.send(Started(address=worker.address))
    order = line.expect(Order)
    guest = order.cells[0].guest
    line.send(Happened(event=events.GuestBooting(guest=guest, boot=guest)))
    seconds = _times.of(guest)
    _sleep(seconds, line)
    ready = events.GuestReady(
        guest=guest, boot=guest, seconds=seconds, argv=(), facts=FACTS, provenance={}
    )
    line.send(Happened(event=ready))
    for cell in order.cells:
        line.send(Happened(event=events.CellStarted(cell=cell.id)))
        seconds = _times.of(replace(cell, repeat=1).id)
        _sleep(seconds, line)
        for number, size in enumerate(EVIDENCE):
            name = f"cells/{cell.id}/{number}"
            line.send(EvidencePart(name=name, data=b"x" * size, mode=0o600))
        verdict = Verdict(cell=cell.id, result=Result.PASS, seconds=seconds, observed=SEEN)
        line.send(Happened(event=events.CellFinished(cell=cell.id, boot=guest, verdict=verdict)))
    line.send(Happened(event=events.GuestStopped(guest=guest, boot=guest)))
    line.send(Ended())


def _sleep(seconds: float, line: work.Line) -> None:
    """Sleep as long as a guest boots or a cell runs, with the signs of life of a real worker."""
    while seconds > work.ALIVE_SECONDS:
        time.sleep(work.ALIVE_SECONDS)
        seconds -= work.ALIVE_SECONDS
        line.sign_of_life()
    time.sleep(seconds)  # a simulated guest: nothing happens that could be waited for


def ideal(cells: Sequence[Cell], processors: int, times: Times) -> float:
    """Return the least time that any packing takes, in seconds: all boots and cells on all processors, or
    the longest boot with its cell.
    """
    known = typical(cells, times)
    guests = dict.fromkeys(cell.guest for cell in cells)
    total = sum(known[name] for name in (*guests, *(cell.id for cell in cells)))
    longest = max(known[cell.guest] + known[cell.id] for cell in cells)
    return max(total / processors, longest)


def typical(cells: Sequence[Cell], times: Times) -> Mapping[str, float]:
    """Return the times of cells and of the boots of their guests. A repeated cell takes as long as the first."""
    known = {cell.id: times.of(replace(cell, repeat=1).id) for cell in cells}
    return known | {cell.guest: times.of(cell.guest) for cell in cells}


@contextlib.contextmanager
def _workers(count: int, folder: Path) -> Iterator[Cluster]:
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0",
            protocol="inproc://", silence_logs=50, preload=[__name__],
            local_directory=str(folder / "workers"),
        ) as local,
        Client(local) as client,
    ):  # fmt: skip
        cluster = Cluster(local.scheduler_address, client)
        cluster.look()
        gc.freeze()  # the workers and the scheduler: a real process has one of them to look through
        yield cluster
        gc.unfreeze()


@functools.cache
def _guests() -> tuple[str, ...]:
    """Return all guests. To find out takes 0.1 s, which each worker of a farm spends on its own machine."""
    return tuple(catalogue(Builder()))


async def dask_setup(worker: Worker) -> None:
    """Offer all guests. Dask calls it before the worker joins."""
    here = provenance.here()
    facts = WorkerFacts(
        name=str(worker.name), host=f"machine-{worker.name}", address=worker.address, kernel="",
        machine="x86_64", processor="", processors=1, memory=1 << 20, foothold=here.version,
        code=here.code, python=here.python, guests=_guests(),
    )  # fmt: skip
    told = msgspec.json.encode(facts).decode()
    worker.startup_information[TOLD] = lambda _: told
    offered = resources_of(facts)
    worker.state.total_resources.update(offered)
    worker.state.available_resources.update(offered)


def _reporters(folder: Path) -> list[RunDirectoryReporter | HistoryReporter]:
    return [RunDirectoryReporter(folder / "run"), HistoryReporter(folder / "history.db")]
