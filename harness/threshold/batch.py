"""Thresholds of several subjects in several guests, with one boot of each guest.

A search is a cell without a limit: so it is scheduled, and given to the workers of a cluster, as any
other. Its verdict says whether there is a threshold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import Blame, FootholdError
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner import RunOptions, estimate, group_cells
from foothold_lab.harness.runner.booted_guest import BootedGuest
from foothold_lab.harness.runner.guest_cells import (
    CellGroup,
    Results,
    boot_request,
    without_guest,
)
from foothold_lab.harness.runner.guest_pool import GuestPool, Pool
from foothold_lab.harness.subjects.subject import can_run
from foothold_lab.harness.threshold.bisection import Threshold
from foothold_lab.harness.threshold.find import ThresholdQuery, find_threshold
from foothold_lab.images.errors import ImageError


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A guest that could not be used; or, if a subject is named, the subject that broke it."""

    guest: str
    subject: str
    why: str
    unsupported: bool = False


@dataclass
class ThresholdResults:
    """The thresholds, in the order in which they were found, and those that were not found."""

    found: list[Threshold] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for. `take` gets the name of a cell, and its threshold before its verdict. Any
    thread may call it.
    """

    query: ThresholdQuery
    take: Callable[[str, Threshold], None]


class Searchers(Protocol):
    """Search for the thresholds of groups: the processors of this machine, or the workers of a cluster."""

    def search(self, groups: Sequence[CellGroup], results: Results, search: Search) -> None:
        """Search for the threshold of each cell. Stops all guests on KeyboardInterrupt."""


class LocalSearchers:
    """The processors of this machine."""

    def __init__(self, options: RunOptions, emit: events.Emit) -> None:
        self._options = options
        self._pool = GuestPool(options, emit)

    def search(self, groups: Sequence[CellGroup], results: Results, search: Search) -> None:
        """Search in guests side by side, each on a processor of its own."""
        self._pool.run(
            [estimate(group, self._options) for group in groups],
            lambda group, processor: search_group(group, processor, self._pool, results, search),
        )


def find_thresholds(
    wanted: Mapping[str, Sequence[str]],
    options: RunOptions,
    query: ThresholdQuery,
    emit: events.Emit,
    searchers: Searchers | None = None,
) -> ThresholdResults:
    """Find the thresholds of subjects of the options: `wanted` has their names by guest. What a guest
    cannot run is left out.

    Guests are canonical names. They are searched on this machine, if there are no other searchers. On
    KeyboardInterrupt all guests are stopped.
    """
    cells = _cells(wanted, options, query)
    found: dict[str, Threshold] = {}
    search = Search(query=query, take=found.__setitem__)
    gathered = _Gathered({cell.id: cell for cell in cells})
    searchers = searchers or LocalSearchers(options, emit)
    searchers.search(group_cells(cells, options), Results(gathered.add), search)
    return ThresholdResults([*found.values()], [*gathered.missing])


def search_group(
    group: CellGroup, processor: int, pool: Pool, results: Results, search: Search
) -> None:
    """Search for the thresholds of a group in one guest, which is booted again if a subject broke it."""
    request = boot_request(group, processor, pool.options)
    waiting = list(group.cells)
    while waiting and not pool.is_stopping():
        try:
            with pool.boot(request) as booted:
                while waiting and _search(waiting.pop(0), booted, pool, results, search):
                    pass
        except (FootholdError, ImageError, OSError) as error:
            if not pool.is_stopping():
                for cell in waiting:
                    results.add(without_guest(cell, error))
            return


def _cells(
    wanted: Mapping[str, Sequence[str]], options: RunOptions, query: ThresholdQuery
) -> list[Cell]:
    """Return a cell for each search."""
    kinds = catalogue(options.builder, options.custom_kernels)
    cells = []
    for guest, names in wanted.items():
        machines = find_guest(kinds, guest, options.machines).machines
        cells += [
            Cell(guest=guest, limits=Limits(), policy=query.policy, subject=name)
            for name in dict.fromkeys(names)
            if can_run(options.subjects[name], guest, machines, ()).ok
        ]
    return cells


def _search(cell: Cell, booted: BootedGuest, pool: Pool, results: Results, search: Search) -> bool:
    """Search for the threshold of a cell; say whether the guest can be used further."""

    def report(step: str) -> None:
        pool.emit(events.Progress(guest=booted.name, what=f"{cell.subject}: {step}"))

    started = time.monotonic()
    results.tell(events.CellStarted(cell=cell.id))
    try:
        found = find_threshold(pool.options.subjects[cell.subject], booted, search.query, report)
    except FootholdError as error:
        if not pool.is_stopping():
            results.add(without_guest(cell, error))
        return False
    report(f"{found.kind}: {found}")
    search.take(cell.id, found)
    seconds = time.monotonic() - started
    results.add(Verdict(cell=cell.id, result=Result.PASS, seconds=seconds))
    return True


class _Gathered:
    """What could not be searched, from the verdicts of the cells."""

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self._cells = cells
        self._begun: set[str] = set()
        self.missing: dict[Missing, None] = {}

    def add(self, event: events.AnyEvent) -> None:
        """Take an event of a cell. A guest that did not boot is missing once, for all of its cells."""
        if isinstance(event, events.CellStarted):
            self._begun.add(event.cell)
        elif isinstance(event, events.CellFinished) and event.verdict.result is not Result.PASS:
            cell, verdict = self._cells[event.cell], event.verdict
            subject = cell.subject if cell.id in self._begun else ""
            missing = Missing(
                guest=cell.guest,
                subject=subject,
                why=verdict.reason_and_remedy,
                unsupported=not subject and verdict.blame is Blame.UNSUPPORTED,
            )
            self.missing[missing] = None
