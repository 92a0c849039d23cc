"""Timings of queries of the history with 100,000 cells.

The database is filled by events, as runs fill it: many runs of the nightly plan, a few very large
runs, or very many runs of one cell. One cell in 50 fails, one in 200 passes when it is retried.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.facts import Cgroup, Facts, Hint, Tools
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.provenance import Provenance
from foothold_lab.harness.model.verdict import (
    Expectation,
    Observation,
    Outcome,
    ReservationPath,
    Result,
    Verdict,
)
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.compare import compare_runs
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.flaky import flaky
from foothold_lab.harness.results_db.writer import Recorder

CELLS = 100_000
TIMES = 5
GOAL = 1.0  # seconds
HIGH = Expectation(path=ReservationPath.HIGH, outcome=Outcome.ALLOCATES)
SEEN = Observation(
    path=ReservationPath.HIGH,
    outcome=Outcome.ALLOCATES,
    status=0,
    signal=0,
    message="",
    evidence={
        "report": "high: heap 0xf840000000-0xf840600000, 270 small and 8 large blocks",
        "maps at reserved": "high: rwxp 0xf840000000-0xf840110000, ---p up to 0xfc40000000",
        "maps at end": "high: rwxp 0xf840000000-0xf840600000, ---p up to 0xfc40000000",
        "trace": "17G --- at 0xf800000000: honoured, 0xf800000000, replaced by MAP_FIXED, held",
        "ending": "status 0",
    },
)
FACTS = Facts(
    schema=2,
    machine="x86_64",
    release="6.12.113",
    pointer_size=8,
    page_size=4096,
    task_size=0x7FFFFFFFF000,
    lowest=0x10000,
    placement="top-down",
    first=0x7F0000000000,
    hint_high=Hint(0xF8 << 32, 0xF8 << 32, 0),
    hint_low=Hint(1 << 28, 1 << 28, 0),
    hint_beyond=Hint(0x7FFFFFFFF000, 0x7F0000000000, 0),
    aslr=2,
    aslr_bits=28,
    rlimit_as=-1,
    rlimit_data=-1,
    rlimit_stack=8 << 20,
    rlimit_memlock=8 << 20,
    overcommit=0,
    commit_limit=1 << 33,
    committed=1 << 28,
    memory=1 << 34,
    max_map_count=65530,
    cgroup=Cgroup(2),
    tools=Tools(),
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A distribution of the cells: number of runs, cells of each run, and guests."""

    name: str
    runs: int
    cells: int
    guests: int


SHAPES = (
    Shape(name="500 nights of 200 cells", runs=500, cells=200, guests=10),
    Shape(name="10 runs of 10,000 cells", runs=10, cells=10_000, guests=10),
    Shape(name="100,000 runs of one cell", runs=CELLS, cells=1, guests=1),
)


def fill(database: Database, shape: Shape) -> None:
    chance = random.Random(5)
    cells = [
        Cell(
            guest=f"guest-{n % shape.guests}",
            limits=Limits(rlimit_as=(n + 1) << 20),
            policy="after",
            expected=HIGH,
        )
        for n in range(shape.cells)
    ]
    with database.transaction():
        for run in range(shape.runs):
            recorder = Recorder(database)
            for event in _run(run, cells, chance):
                recorder(event)


def _run(number: int, cells: list[Cell], chance: random.Random) -> Iterator[events.AnyEvent]:
    plan = "nightly" if number % 10 else "release"
    yield events.RunStarted(
        at=1.7e9 + 86400.0 * number,
        run=f"{number:06}-run",
        plan=plan,
        directory=f"/var/runs/{number:06}",
        command=("foothold", "run", plan),
        cells=tuple(cells),
        provenance=Provenance(
            version="0.1.0",
            revision="",
            code=f"code-{number // 50}",
            python="3.11.7",
            kernel="6.18",
        ),
        subjects={"allocator": "s1"},
    )
    for guest in sorted({cell.guest for cell in cells}):
        images = {"kernel": f"kernel-{number // 30}", "root": "root-1"}
        yield events.GuestBooting(guest=guest, boot=guest, images=images)
        yield events.GuestReady(
            guest=guest,
            boot=guest,
            seconds=0.3,
            argv=("agent",),
            facts=FACTS,
            provenance={"accelerator": "tcg"},
            notes=("confined to its root",),
        )
    for cell in cells:
        verdict = _verdict(cell, chance)
        yield events.CellFinished(cell=cell.id, boot=cell.guest, verdict=verdict)
    yield events.RunFinished(seconds=100.0, counts={})


def _verdict(cell: Cell, chance: random.Random) -> Verdict:
    luck = chance.random()
    verdict = Verdict(
        cell=cell.id,
        result=Result.PASS,
        seconds=chance.gauss(0.3, 0.02),
        predicted=HIGH,
        expected=HIGH,
        observed=SEEN,
        notes=("confined",),
        command=cell.command,
        artefacts=f"/var/runs/cells/{cell.id}",
    )
    if luck < 0.02:
        finding = Finding(Code.PLAN_EXPECTATION, "The plan expects something else.")
        return replace(verdict, result=Result.FAIL, findings=(finding,))
    if luck < 0.025:
        return replace(verdict, attempts=(replace(verdict, result=Result.FAIL).as_attempt(),))
    return verdict


def queries(database: Database, shape: Shape) -> dict[str, Callable[[], object]]:
    """Return the query of each command."""
    middle = f"{shape.runs // 2:06}"

    def both() -> object:
        a, b = reader.find(database, middle), reader.find(database, "last")
        return compare_runs(a, b, reader.earlier_durations(database, b))

    def one() -> object:
        kept = reader.find(database, middle)
        return kept.verdict(kept.cells[-1])

    return {
        "history": lambda: reader.runs(database, limit=20),
        "history --plan release": lambda: reader.runs(database, "release", 20),
        "show last~5": lambda: reader.find(database, "last~5"),
        "show DIRECTORY": lambda: reader.find(database, f"/var/runs/{middle}"),
        "show RUN CELL": one,
        "compare RUN last": both,
        "flaky": lambda: flaky(database),
        "flaky --plan release": lambda: flaky(database, "release"),
    }


def main() -> None:
    """Print the table."""
    print(f"{CELLS} cells; medians of {TIMES}, milliseconds; the goal is {GOAL * 1000:.0f}")
    print(f"{'':26} {'wall':>8} {'cpu':>8}")
    for shape in SHAPES:
        with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
            file = Path(folder) / "history.db"
            started = time.perf_counter()
            with Database(file) as database:
                fill(database, shape)
            took = time.perf_counter() - started
            size = file.stat().st_size >> 20
            print(f"{shape.name}: {size} MiB, {took / CELLS * 1000:.2f} ms a cell to write")
            with Database(file, read_only=True) as database:
                for name, query in queries(database, shape).items():
                    measured = [_seconds(query) for _ in range(TIMES)]
                    wall, processor = (
                        statistics.median(each) for each in zip(*measured, strict=True)
                    )
                    verdict = "met" if wall <= GOAL else "MISSED"
                    print(
                        f"  {name:24} {wall * 1000:8.1f} {processor * 1000:8.1f}  {verdict}",
                        flush=True,
                    )


def _seconds(query: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of wall-clock time and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    query()
    return time.perf_counter() - clock, time.process_time() - processor
