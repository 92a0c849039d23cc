"""Whole plans: how long they take, and how well their guests are packed.

Images and snapshots are there when it begins. What one boot of a guest took, from its start to its
end, is measured within the plan itself. No packing of these is shorter than the longest of them, or
than their sum shared out evenly: that is the reference.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.guests import Line, seconds
from foothold_lab.harness.evidence.arena_detection import POLICIES
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import AnyEvent, CellFinished, GuestBooting, GuestStopped
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.plan import Known, find, load
from foothold_lab.harness.runner.run import Options, run
from foothold_lab.images.builder import Builder

GOALS: Mapping[str, float] = {"default": 6.0, "nightly": 180.0}
PACKED = 1.3


@dataclass
class Boots:
    """Hears a run: how long each boot lived, and how many cells could not be asked."""

    started: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    unsupported: int = 0

    def __call__(self, event: AnyEvent) -> None:
        """Take note of what happens."""
        if isinstance(event, GuestBooting):
            self.started[event.boot] = time.perf_counter()
        elif isinstance(event, GuestStopped) and event.boot in self.started:
            self.took[event.boot] = time.perf_counter() - self.started[event.boot]
        elif isinstance(event, CellFinished):
            result = event.verdict.result
            assert result in (Result.PASS, Result.UNSUPPORTED), event.verdict
            if result is Result.UNSUPPORTED:
                self.unsupported += 1

    def best(self, processors: int) -> float:
        """No packing takes less."""
        return max(*self.took.values(), sum(self.took.values()) / processors)


def lines(builder: Builder, name: str, times: int) -> Iterator[Line]:
    """One plan: its time, and that against the best packing of what it consists of."""
    cells = load(find(name), Known(known_guests(builder), POLICIES)).cells()
    _once(cells, builder)  # not counted: afterwards images and snapshots are there
    rounds = [_once(cells, builder) for _ in range(times)]
    took = statistics.median(each for each, _, _ in rounds)
    _, best, boots = min(rounds, key=lambda each: abs(each[0] - took))
    left_out = f" ({boots.unsupported} unsupported)" if boots.unsupported else ""
    yield Line(f"plan {name}, {len(cells)} cells{left_out}", took, None, GOALS[name])
    yield Line(f"plan {name} / best packing of {len(boots.took)} boots", took, best, PACKED)


def _once(cells: Sequence[Cell], builder: Builder) -> tuple[float, float, Boots]:
    boots = Boots()
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
        options = Options(Path(folder), builder)
        took = seconds(lambda: run(cells, options, boots))
    return took, boots.best(len(options.processors)), boots


def main(times: int = 3) -> None:
    """Print the table."""
    builder = Builder()
    print(f"{'':52} {'ours':>8} {'ref.':>8} {'ratio':>8} {'goal':>8}")
    for line in lines(builder, "default", times):
        print(line, flush=True)
    for line in lines(builder, "nightly", 1):
        print(line, flush=True)


if __name__ == "__main__":
    main()
