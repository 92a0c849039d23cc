"""Thresholds of several subjects in several guests, as many of which live at once as fit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.model import events
from foothold_lab.harness.model.errors import FootholdError, UnsupportedError
from foothold_lab.harness.runner import run as laboratory
from foothold_lab.harness.runner.host_memory import memory_here
from foothold_lab.harness.runner.schedule import Job, Schedule
from foothold_lab.harness.subjects.subject import Subject, can_run
from foothold_lab.harness.threshold.bisection import Threshold
from foothold_lab.images.errors import ImageError

Find = Callable[[Subject, laboratory.Opened, Callable[[str], None]], Threshold]


@dataclass(frozen=True)
class Missing:
    """A guest that could not be asked, or a subject that brought it down (then it is named)."""

    guest: str
    subject: str
    why: str
    unsupported: bool = False


@dataclass
class Edges:
    """Finds them, with one boot of each guest; a guest that was hurt is booted again.

    What is found lies in `found`, in the order of finding, and what is not in `missing`.
    """

    options: laboratory.Options
    emit: events.Emit
    find: Find
    found: list[Threshold] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    _alive: set[Guest] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def all(self, guests: Sequence[str]) -> None:
        """Take all subjects in these guests. On KeyboardInterrupt every guest is ended."""
        kinds = catalogue(self.options.builder, self.options.own)
        jobs = [
            Job(name, kinds[name].weight, kinds[name].memory and laboratory.PROGRAM_MEMORY)
            for name in guests
        ]
        processors = self.options.processors
        schedule = Schedule(jobs, processors, memory_here())
        pool = ThreadPoolExecutor(len(processors), thread_name_prefix="guest")
        try:
            for future in [pool.submit(self._work, schedule) for _ in processors]:
                future.result()
        except KeyboardInterrupt:
            schedule.stop()
            self.options.builder.stop()
            with self._guard:
                alive = list(self._alive)
            for guest in alive:
                guest.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, schedule: Schedule[str]) -> None:
        while True:
            with schedule.next() as job:
                if job is None:
                    return
                self._guest(*job)

    def _guest(self, name: str, cpu: int) -> None:
        machines = catalogue(self.options.builder, self.options.own)[name].machines
        suited = {
            each.name: each
            for each in self.options.subjects.values()
            if can_run(each, name, machines, ()).ok
        }
        options = replace(self.options, subjects=suited)
        waiting = list(suited.values())
        while waiting:
            try:
                with laboratory.opened(name, options, self.emit, cpu) as booted:
                    with self._guard:
                        self._alive.add(booted.guest)
                    while waiting:
                        self._subject(waiting.pop(0), booted)
            except UnsupportedError as error:
                self._miss(name, "", error, unsupported=True)
                return
            except (FootholdError, ImageError, OSError) as error:
                self._miss(name, "", error)
                return
            except _HurtError:
                continue

    def _subject(self, subject: Subject, booted: laboratory.Opened) -> None:
        name = booted.guest.name

        def tell(what: str) -> None:
            self.emit(events.Progress(guest=name, what=f"{subject.name}: {what}"))

        try:
            found = self.find(subject, booted, tell)
        except FootholdError as error:
            self._miss(name, subject.name, error)
            raise _HurtError from error
        tell(f"{found.kind}: {found}")
        with self._guard:
            self.found.append(found)

    def _miss(
        self, guest: str, subject: str, error: Exception, *, unsupported: bool = False
    ) -> None:
        remedy = getattr(error, "remedy", "")
        with self._guard:
            why = f"{error}; {remedy}" if remedy else str(error)
            self.missing.append(Missing(guest, subject, why, unsupported))


class _HurtError(Exception):
    """The guest is not what it was: it is ended, and booted again for what is left."""
