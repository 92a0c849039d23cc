"""A cell of a run that was, with all that it was made of."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.custom_kernels import CustomKernels
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import RunStarted
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import StoredBoot
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder
from foothold_lab.images.errors import ImageError


@dataclass(frozen=True, kw_only=True)
class RecordedCell:
    """What was asked, of whom, in which guest, and what it came to."""

    run: str
    directory: Path
    cell: Cell
    subject: Subject
    boot: StoredBoot
    traced: bool
    verdict: Verdict

    @property
    def boot_directory(self) -> Path:
        """What was kept of the boot."""
        return self.directory / "guests" / self.boot.name

    @property
    def evidence_directory(self) -> Path:
        """What was kept of the cell."""
        return self.directory / "cells" / self.cell.id

    @property
    def custom_kernels(self) -> CustomKernels:
        """The kernels of the user's own. Raises UsageError if they are not what they were."""
        for path, known in self.boot.images.items():
            if path.startswith("/") and subjects.hash_of(Path(path)) != known:
                raise UsageError(
                    f"{path} is gone, or another file than it was in {self.run}",
                    "put back the one of then, or run the cell anew with today's",
                )
        return CustomKernels.from_arguments(self.cell.where)

    def pin_images(self, builder: Builder) -> None:
        """Let a builder hand out the images of then. Raises UsageError, naming what is gone."""
        gone = []
        for name, directory in self.boot.images.items():
            try:
                if not name.startswith("/"):
                    builder.pin(name, directory)
            except ImageError:
                gone.append(directory)
        if gone:
            raise UsageError(
                f"the cache no longer has {', '.join(gone)}, of which {self.boot.guest} was made",
                f"run the cell with the images of today: {shlex.join(self.cell.command)}",
            )

    def copy_share(self, target: Path) -> Path:
        """Copy the files that the guest was handed then, without the keys of that boot."""
        keys = shutil.ignore_patterns("hostkey", "authorized_keys")
        shutil.copytree(
            self.boot_directory / "share", target, ignore=keys, symlinks=True, dirs_exist_ok=True
        )
        return target


def find(database: Database, run: str, cell: str) -> RecordedCell:
    """Find a cell of a run, each by the words that `foothold show` takes. Raises UsageError."""
    kept = reader.find(database, run)
    one = kept.cell(cell)
    verdict = kept.verdict(one)
    boot = next((each for each in kept.boots if each.id == one.boot), None)
    if verdict is None or boot is None or not boot.argv:
        raise UsageError(
            f"{one.name} of {kept.run.name} never came to run: its guest did not boot",
            f"`foothold show {kept.run.name} {one.name}` says why",
        )
    moved = Path(run).absolute()  # a run may have been brought here from elsewhere
    directory = moved if (moved / "run.json").is_file() else Path(kept.run.directory)
    started = _started(directory)
    asked = next(each for each in started.cells if each.id == one.name)
    known = subjects.read_deployed(directory / "guests" / boot.name)
    return RecordedCell(
        run=kept.run.name,
        directory=directory,
        # what the cell was compared with is in its verdict
        cell=replace(asked, expected=verdict.expected or asked.expected),
        subject=known[asked.subject],
        boot=boot,
        traced=started.trace,
        verdict=verdict,
    )


def _started(directory: Path) -> RunStarted:
    file = directory / "run.json"
    try:
        whole: Mapping[str, Any] = msgspec.json.decode(file.read_bytes())
        return msgspec.convert(whole["started"], RunStarted)
    except (OSError, KeyError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{file} cannot be read: {error}", "the directory of the run is needed for this"
        ) from error
