"""Timings of whole plans, and how well their guests are scheduled.

Images and snapshots exist before the measurement. The duration of each boot of a guest is measured
in the plan itself. The reference is the lower bound of any schedule: the longest boot, or the sum
of all boots divided by the number of processors.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.guests import Line, seconds
from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.evidence.arena_detection import POLICIES
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import AnyEvent, CellFinished, GuestBooting, GuestStopped
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.plan import Vocabulary, find_plan, load_plan
from foothold_lab.harness.runner import RunOptions, run_cells
from foothold_lab.harness.subjects.packaged import packaged
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder

GOALS: Mapping[str, float] = {"default": 6.0, "nightly": 180.0}
PACKED = 1.3


@dataclass
class Boots:
    """Receives the events of a run: durations of boots, number of unsupported cells."""

    started: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    unsupported: int = 0

    def __call__(self, event: AnyEvent) -> None:
        """Record one event."""
        if isinstance(event, GuestBooting):
            self.started[event.boot] = time.perf_counter()
        elif isinstance(event, GuestStopped) and event.boot in self.started:
            self.took[event.boot] = time.perf_counter() - self.started[event.boot]
        elif isinstance(event, CellFinished):
            result = event.verdict.result
            assert result in (Result.PASS, Result.UNSUPPORTED), event.verdict
            if result is Result.UNSUPPORTED:
                self.unsupported += 1

    def lower_bound(self, processors: int) -> float:
        """Return the lower bound of any schedule, in seconds."""
        return max(*self.took.values(), sum(self.took.values()) / processors)


def lines(builder: Builder, name: str, times: int) -> Iterator[Line]:
    """Yield the time of a plan, and its ratio to the best schedule of its boots."""
    plan = load_plan(find_plan(name), Vocabulary(known_guests(builder), POLICIES))
    cells = plan.cells()
    subjects = subjects_of(cells, plan, packaged(builder))
    _once(cells, subjects, builder)  # not counted: it makes images and snapshots
    rounds = [_once(cells, subjects, builder) for _ in range(times)]
    took = statistics.median(each for each, _, _ in rounds)
    _, best, boots = min(rounds, key=lambda each: abs(each[0] - took))
    excluded = f" ({boots.unsupported} unsupported)" if boots.unsupported else ""
    yield Line(
        name=f"plan {name}, {len(cells)} cells{excluded}",
        ours=took,
        reference=None,
        goal=GOALS[name],
    )
    yield Line(
        name=f"plan {name} / best schedule of {len(boots.took)} boots",
        ours=took,
        reference=best,
        goal=PACKED,
    )


def _once(
    cells: Sequence[Cell], subjects: Mapping[str, Subject], builder: Builder
) -> tuple[float, float, Boots]:
    boots = Boots()
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
        options = RunOptions(directory=Path(folder), builder=builder, subjects=subjects)
        took = seconds(lambda: run_cells(cells, options, boots))
    return took, boots.lower_bound(len(options.processors)), boots


def main(times: int = 3) -> None:
    """Print the table."""
    builder = Builder()
    print(f"{'':52} {'ours':>8} {'ref.':>8} {'ratio':>8} {'goal':>8}")
    for line in lines(builder, "default", times):
        print(line, flush=True)
    for line in lines(builder, "nightly", 1):
        print(line, flush=True)
