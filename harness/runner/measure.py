"""Guests that are booted only to be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner.guest_cells import CellGroup, Results
from foothold_lab.harness.runner.options import RunOptions
from foothold_lab.harness.runner.run import LocalWorkforce, group_cells


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The facts of guests, and the reason for each that was not measured, in the order of their cells."""

    facts: Mapping[str, Facts]
    missing: Mapping[str, str]


class Measurers(Protocol):
    """Boots guests: the processors of this machine, or the workers of a cluster."""

    def measure(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Boot the guests of groups, and run nothing. Stops all guests on KeyboardInterrupt."""


def measure_guests(
    cells: Sequence[Cell],
    options: RunOptions,
    emit: Emit,
    hire: Callable[[RunOptions, Emit], Measurers] = LocalWorkforce,
) -> Measured:
    """Boot the guests of cells, and measure each. Nothing runs in them. `hire` returns what boots them.

    On KeyboardInterrupt all guests are stopped.
    """
    ready: dict[str, Facts] = {}
    verdicts: dict[str, Verdict] = {}

    def take(event: events.AnyEvent) -> None:
        match event:
            case events.CellFinished():
                verdicts[event.cell] = event.verdict
            case events.CellStarted() | events.CellRetried():
                pass
            case _:
                if isinstance(event, events.GuestReady):
                    ready[event.guest] = event.facts
                emit(event)

    hire(options, take).measure(group_cells(cells, options), Results(take))
    booted = [cell.guest for cell in cells if verdicts[cell.id].result is Result.PASS]
    reasons = {cell.guest: verdicts[cell.id].reason_and_remedy for cell in cells}
    return Measured(
        facts={guest: ready[guest] for guest in booted},
        missing={guest: why for guest, why in reasons.items() if guest not in booted},
    )
