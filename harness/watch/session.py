"""The loop: build the program, run the cells in guests that stay booted, wait for a change."""

from __future__ import annotations

import os
import select
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.runner import RunOptions, run_cells
from foothold_lab.harness.runner.kept_guests import KeptGuests, KeptWorkforce
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.watch.build import Build
from foothold_lab.harness.watch.sources import Changes, SourceWatch
from foothold_lab.harness.watch.view import View
from foothold_lab.images.errors import ImageError

PATIENCE_SECONDS = 1.0  # for a program that cannot run
MOST_BUILDS = 3  # one after another, if each changes other files than the one before
_SYSTEM = ("/lib", "/lib32", "/lib64", "/usr")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The cells of a program, and the subjects that they name.

    `digest` identifies the content of all files of the subjects when they were selected.
    """

    cells: Sequence[Cell]
    subjects: Mapping[str, Subject]
    digest: tuple[str, ...]

    @classmethod
    def now(cls, cells: Sequence[Cell], made: Mapping[str, Subject]) -> Selection:
        """Return the selection with the digest of the files as they are now."""
        digest = tuple(subjects.digest(each) for each in made.values())
        return cls(cells=cells, subjects=made, digest=digest)

    @property
    def files(self) -> set[Path]:
        """The files whose changes make another program. Those of the system are not among them."""
        found = {path for each in self.subjects.values() for path in each.files.values()}
        found |= {Path(each.argv[0]) for each in self.subjects.values() if each.argv}
        return {path for path in found if not any(path.is_relative_to(s) for s in _SYSTEM)}


@dataclass(kw_only=True)
class Session:
    """A program that is watched.

    program: its path; None: found when the command has made it. select: returns what is run of a
    program; raises UsageError if it cannot run. find: finds the program after a build that began at
    a time of day. options: how the runs are done.
    """

    program: Path | None
    select: Callable[[Path], Selection]
    find: Callable[[float], Path]
    build: Build | None
    watch: SourceWatch
    options: RunOptions
    view: View

    def run(self) -> None:
        """Test the program whenever it changes, until KeyboardInterrupt."""
        with KeptGuests() as guests:
            changes = Changes()
            needs_build = self.build is not None
            tested: tuple[str, ...] = ()
            while True:
                built, since = self._built() if needs_build else (True, changes.at)
                chosen, ending = self._load() if built else (None, Changes())
                if chosen and chosen.digest != tested:
                    self.view.testing(chosen.cells, since)
                    ending = self._test(chosen, guests)
                    tested = () if ending else chosen.digest
                elif chosen:
                    self.view.unchanged()
                changes = ending or self._wait()
                needs_build = self.build is not None and bool(changes.sources)

    def _built(self) -> tuple[bool, float]:
        """Build the program from the sources as they are; say whether it succeeded, and when it
        ended. A source that changes meanwhile makes another build necessary.
        """
        assert self.build
        changed: set[Path] = set()
        for _ in range(MOST_BUILDS):
            self.view.building(self.build.argv)
            began = time.time()
            result = self.build.run()
            changed = self.watch.poll_after_build(changed)
            if not changed:
                break
        self.view.built(self.build.argv, result)
        if result.status == 0 and self.program is None:
            self.program = self.find(began)
            self.view.found(self.program)
        return result.status == 0, result.end

    def _load(self) -> tuple[Selection | None, Changes]:
        """Return the cells and the subjects; None if the program cannot run, which is shown unless
        something changes soon: a linker removes a program before it writes it again.
        """
        assert self.program
        changes = Changes()
        while not changes.sources:
            self.watch.set_program({self.program})
            try:
                chosen = self.select(self.program)
            except (UsageError, ImageError) as error:
                if not select.select([self.watch], [], [], PATIENCE_SECONDS)[0]:
                    self.view.failed(error)
                    return None, Changes()
                changes = self.watch.poll()
            else:
                self.watch.set_program({self.program, *chosen.files})
                return chosen, Changes()
        return None, changes

    def _test(self, chosen: Selection, guests: KeptGuests) -> Changes:
        """Run the cells. A change of the program, or of a source, ends the run, and is returned."""
        ended = threading.Event()
        done, finished = os.pipe2(os.O_CLOEXEC)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._run_cells(chosen, guests, ended.is_set)
            except BaseException as error:
                failures.append(error)
            finally:
                os.close(finished)

        thread = threading.Thread(target=work, name="cells")
        thread.start()
        try:
            changes = self._change_before(done, chosen)
        except BaseException:
            guests.close()  # also those that are about to boot
            raise
        finally:
            ended.set()
            thread.join()
            os.close(done)
        if failures:
            raise failures[0]
        if not changes:
            self.view.answered()
        return changes

    def _change_before(self, done: int, chosen: Selection) -> Changes:
        """Wait for the end of a run, or for a change that makes the run useless."""
        while True:
            changed = self.watch.fileno()
            ready, _, _ = select.select([done, changed], [], [])
            if changed in ready:
                changes = self.watch.poll()
                if (changes.sources and self.build) or (
                    changes.program and not self._is_same(chosen)
                ):
                    return changes
            elif done in ready:
                return Changes()

    def _is_same(self, chosen: Selection) -> bool:
        assert self.program
        try:
            return self.select(self.program).digest == chosen.digest
        except (UsageError, ImageError):
            return False

    def _run_cells(
        self, chosen: Selection, guests: KeptGuests, is_ended: Callable[[], bool]
    ) -> None:
        options = replace(self.options, subjects=chosen.subjects)
        _remove_evidence(options.directory)
        with Bus([RunDirectoryReporter(options.directory), self.view]) as bus:
            run_cells(chosen.cells, options, bus, KeptWorkforce(guests, options, bus, is_ended))

    def _wait(self) -> Changes:
        """Wait for a change."""
        self.view.waiting()
        while True:
            select.select([self.watch], [], [])
            if changes := self.watch.poll():
                return changes


def _remove_evidence(directory: Path) -> None:
    """Remove what the last run has left. The directories of the guests stay."""
    (directory / "events.jsonl").unlink(missing_ok=True)
    shutil.rmtree(directory / "cells", ignore_errors=True)
