"""Finding runs, cells and earlier durations."""

from __future__ import annotations

import re
import statistics
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.results_db.database import Database, HistoryError
from foothold_lab.harness.results_db.models import Run, StoredBoot, StoredCell, StoredThreshold
from foothold_lab.harness.results_db.timing_stats import MAX_SAMPLES
from foothold_lab.harness.results_db.writer import replay

LAST = re.compile(r"last(?:~(\d{1,6}))?")


class KnownRunError(UsageError):
    """The database has this run."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run with its boots and cells. `source` is the database with the verdicts."""

    run: Run
    boots: tuple[StoredBoot, ...]
    cells: tuple[StoredCell, ...]
    source: Database

    @property
    def guests(self) -> dict[str, StoredBoot]:
        """The last successful boot of each guest, else its last boot."""
        ordered = sorted(self.boots, key=lambda boot: boot.facts is not None)
        return {boot.guest: boot for boot in ordered}

    def packages(self, image: str) -> Mapping[str, str]:
        """Return the packages of an image of `boots`, with their versions; none if they are unknown."""
        text = self.source.value("SELECT packages FROM images WHERE name = ?", image)
        return msgspec.json.decode(text, type=dict[str, str]) if text else {}

    def cell(self, name: str) -> StoredCell:
        """Find a cell by its name, or by a part that no other name has. Raises UsageError."""
        found = [cell for cell in self.cells if cell.name == name]
        found = found or [cell for cell in self.cells if name in cell.name]
        if len(found) == 1:
            return found[0]
        fits = "several cells" if found else "no cell"
        some = [cell.name for cell in (found or self.cells)]
        remedy = f"there is: {', '.join(some[:6])}{', …' if len(some) > 6 else ''}"
        raise UsageError(f"{name!r} names {fits} of {self.run.name}", remedy)

    def verdict(self, cell: StoredCell) -> Verdict | None:
        """Return the whole verdict on a cell, or None. Raises HistoryError."""
        data = self.source.value("SELECT json FROM verdicts WHERE cell = ?", cell.id)
        try:
            return msgspec.json.decode(zlib.decompress(data), type=Verdict) if data else None
        except (zlib.error, msgspec.MsgspecError) as error:
            raise HistoryError(
                f"{self.source.path}: the verdict on {cell.name} cannot be read: {error}",
                f"it was written by Foothold {self.run.provenance.version}; use that one",
            ) from error


def runs(database: Database, plan: str = "", limit: int = -1, skip: int = 0) -> list[Run]:
    """Return at most `limit` runs, the newest first, after the first `skip` ones."""
    query = (
        "SELECT * FROM runs WHERE ? IN ('', plan) ORDER BY started DESC, id DESC LIMIT ? OFFSET ?"
    )
    return list(_runs(database, query, plan, limit, skip))


def find(database: Database, word: str, plan: str = "") -> StoredRun:
    """Find a run: `last`, `last~1`, its name, the start of its name, or its directory. A directory that is
    not in the database is read itself. `plan` restricts the search to runs of that plan.

    Raises UsageError.
    """
    if match := LAST.fullmatch(word):
        found = runs(database, plan, 1, int(match[1] or 0))
        if not found:
            of = f" of the plan {plan!r}" if plan else ""
            raise UsageError(
                f"there is no run {word}{of} in {database.path}", _newest_runs(database)
            )
        return _stored_run(database, found[0])
    if "/" in word or Path(word).is_dir():
        return _run_in_directory(database, Path(word).absolute())
    exactly = list(_runs(database, "SELECT * FROM runs WHERE name = ?", word))
    found = exactly or list(
        _runs(database, "SELECT * FROM runs WHERE substr(name, 1, ?) = ? LIMIT 6", len(word), word)
    )
    if len(found) != 1:
        names = ", ".join(run.name for run in found)
        fits = f"several runs: {names}" if found else f"no run in {database.path}"
        raise UsageError(f"{word!r} names {fits}", _newest_runs(database))
    return _stored_run(database, found[0])


def add(database: Database, directory: Path) -> Run:
    """Add the run of a directory to the database. Raises KnownRunError if the database has it."""
    run = _replayed(database.scratch, directory)
    known = "SELECT name FROM runs WHERE started = ? AND directory = ?"
    if name := database.value(known, run.started, run.directory):
        raise KnownRunError(f"it is in the history already, as {name}")
    return _replayed(database, directory)


def earlier_durations(database: Database, kept: StoredRun) -> Mapping[str, Sequence[float]]:
    """Return the durations (seconds) of each cell of a run in the latest runs before it."""
    query = """
        SELECT base_name, json_group_array(seconds) AS seconds FROM (
            SELECT c.base_name, c.seconds, row_number() OVER (
                PARTITION BY c.base_name ORDER BY r.started DESC, r.id DESC
            ) AS place
            FROM cells c JOIN runs r ON r.id = c.run
            WHERE c.result IN ('pass', 'fail') AND r.started < ?
              AND c.base_name IN (SELECT value FROM json_each(?))
        ) WHERE place <= ? GROUP BY base_name
    """
    asked = sorted({cell.base_name for cell in kept.cells})
    rows = database.rows(query, kept.run.started, msgspec.json.encode(asked).decode(), MAX_SAMPLES)
    decode = msgspec.json.Decoder(list[float]).decode
    return {row["base_name"]: decode(row["seconds"]) for row in rows}


def thresholds(database: Database) -> list[StoredThreshold]:
    """Return all thresholds, the oldest first."""
    columns = ", ".join(each.name for each in fields(StoredThreshold))
    rows = database.rows(f"SELECT {columns} FROM thresholds ORDER BY at, id")  # noqa: S608
    return [StoredThreshold(**dict(row)) for row in rows]


def median_durations(database: Database) -> dict[str, float]:
    """Return the median of the latest durations (seconds) of every cell, by its name."""
    query = """
        SELECT name, json_group_array(seconds) AS seconds FROM (
            SELECT c.name, c.seconds, row_number() OVER (
                PARTITION BY c.name ORDER BY r.started DESC, r.id DESC
            ) AS place
            FROM cells c JOIN runs r ON r.id = c.run
            WHERE c.result IN ('pass', 'fail') AND c.seconds > 0
        ) WHERE place <= ? GROUP BY name
    """
    return _medians(database, query, "name")


def median_boots(database: Database) -> dict[str, float]:
    """Return the median of the latest durations (seconds) of the boots of every guest, by its name."""
    query = """
        SELECT guest, json_group_array(seconds) AS seconds FROM (
            SELECT b.guest, b.seconds, row_number() OVER (
                PARTITION BY b.guest ORDER BY r.started DESC, r.id DESC, b.id DESC
            ) AS place
            FROM boots b JOIN runs r ON r.id = b.run WHERE b.seconds > 0
        ) WHERE place <= ? GROUP BY guest
    """
    return _medians(database, query, "guest")


def _medians(database: Database, query: str, name: str) -> dict[str, float]:
    decode = msgspec.json.Decoder(list[float]).decode
    rows = database.rows(query, MAX_SAMPLES)
    return {row[name]: statistics.median(decode(row["seconds"])) for row in rows}


def _run_in_directory(database: Database, directory: Path) -> StoredRun:
    found = list(
        _runs(
            database,
            "SELECT * FROM runs WHERE directory = ? ORDER BY started DESC LIMIT 1",
            str(directory),
        )
    )
    if found:
        return _stored_run(database, found[0])
    return _stored_run(database.scratch, _replayed(database.scratch, directory))


def _replayed(database: Database, directory: Path) -> Run:
    replay(directory, database)
    return next(_runs(database, "SELECT * FROM runs ORDER BY id DESC LIMIT 1"))


def _runs(database: Database, query: str, *values: object) -> Iterator[Run]:
    for row in database.rows(query, *values):
        counts: Counter[str] = Counter()
        for part in database.rows(
            "SELECT coalesce(result, 'not-run') AS result, count(*) AS cells FROM cells"
            " WHERE run = ? GROUP BY 1",
            row["id"],
        ):
            counts[part["result"]] = part["cells"]
        flaky = database.value("SELECT count(*) FROM cells WHERE flaky AND run = ?", row["id"])
        yield Run.of(row, dict(counts), flaky)


def _stored_run(database: Database, run: Run) -> StoredRun:
    boots = database.rows("SELECT * FROM boots WHERE run = ? ORDER BY id", run.id)
    cells = database.rows("SELECT * FROM cells WHERE run = ? ORDER BY id", run.id)
    return StoredRun(
        run=run,
        boots=tuple(map(StoredBoot.of, boots)),
        cells=tuple(map(StoredCell.of, cells)),
        source=database,
    )


def _newest_runs(database: Database) -> str:
    newest = ", ".join(run.name for run in runs(database, limit=3))
    return f"the newest are: {newest}" if newest else "it has no run yet: `foothold run` adds one"
