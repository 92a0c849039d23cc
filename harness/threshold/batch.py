"""Thresholds of several subjects in several guests, with one boot of each guest."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from foothold_lab.harness.guests.catalogue import GuestType, catalogue, find_guest
from foothold_lab.harness.model import events
from foothold_lab.harness.model.errors import FootholdError, UnsupportedError
from foothold_lab.harness.runner.booted_guest import BootedGuest, BootRequest
from foothold_lab.harness.runner.guest_pool import GuestPool
from foothold_lab.harness.runner.options import PROGRAM_MEMORY, RunOptions
from foothold_lab.harness.runner.schedule import Job
from foothold_lab.harness.subjects.subject import Subject, can_run
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


def find_thresholds(
    guests: Sequence[str], options: RunOptions, query: ThresholdQuery, emit: events.Emit
) -> ThresholdResults:
    """Find the threshold of every subject of the options in every guest that can run it.

    Guests are canonical names. On KeyboardInterrupt all guests are stopped.
    """
    kinds = catalogue(options.builder, options.custom_kernels)
    jobs = [
        Job(kind, kind.cell_seconds, kind.memory and PROGRAM_MEMORY)
        for kind in (find_guest(kinds, name, options.machines) for name in guests)
    ]
    pool = GuestPool(options, emit)
    search = _Search(pool, query)
    pool.run(jobs, search.guest)
    return search.results


class _Search:
    def __init__(self, pool: GuestPool, query: ThresholdQuery) -> None:
        self.results = ThresholdResults()
        self._pool = pool
        self._query = query
        self._guard = threading.Lock()

    def guest(self, kind: GuestType, processor: int) -> None:
        """Search in one guest, which is booted again if a subject broke it."""
        known = self._pool.options.subjects.values()
        waiting = [each for each in known if can_run(each, kind.name, kind.machines, ()).ok]
        request = BootRequest(
            kind=kind, boot=kind.label, processor=processor, subjects=tuple(waiting)
        )
        while waiting:
            try:
                with self._pool.boot(request) as booted:
                    while waiting and self._subject(waiting.pop(0), booted):
                        pass
            except (FootholdError, ImageError, OSError) as error:
                self._miss(kind.name, "", error)
                return

    def _subject(self, subject: Subject, booted: BootedGuest) -> bool:
        """Search for one subject; say whether the guest can be used further."""

        def report(step: str) -> None:
            self._pool.emit(events.Progress(guest=booted.name, what=f"{subject.name}: {step}"))

        try:
            found = find_threshold(subject, booted, self._query, report)
        except FootholdError as error:
            self._miss(booted.name, subject.name, error)
            return False
        report(f"{found.kind}: {found}")
        with self._guard:
            self.results.found.append(found)
        return True

    def _miss(self, guest: str, subject: str, error: Exception) -> None:
        remedy = getattr(error, "remedy", "")
        why = f"{error}; {remedy}" if remedy else str(error)
        unsupported = not subject and isinstance(error, UnsupportedError)
        with self._guard:
            self.results.missing.append(
                Missing(guest=guest, subject=subject, why=why, unsupported=unsupported)
            )
