"""A process that writes a run: `python -m tests.unit.results_db.writing FILE NAME CELLS`.

It prints the name of each cell when that is committed, and waits for a line on standard input
before it begins, so that several begin at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.results_db.writer import HistoryReporter
from tests.unit.harness import samples


def main(file: Path, name: str, count: int) -> None:
    """Write that many cells, each with its verdict, and the end."""
    cells = [
        Cell(guest="native", limits=Limits(rlimit_as=(n + 1) << 20), policy="after")
        for n in range(count)
    ]
    sys.stdin.readline()
    with Bus([HistoryReporter(file)]) as bus:
        bus(
            events.RunStarted(
                run=name,
                plan="p",
                directory=f"/runs/{name}",
                command=("foothold",),
                cells=tuple(cells),
            )
        )
        bus(events.GuestBooting(guest="native", boot="native", images={"agent": "agent-1"}))
        bus(samples.ready("native"))
        for cell in cells:
            bus(samples.done(cell, observed=samples.observation(samples.HIGH_ALLOCATES)))
            sys.stdout.write(f"{cell.id}\n")
            sys.stdout.flush()
        bus(samples.finished())
    sys.exit(bus.failed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
