"""The connection to the database, transactions, and messages for the errors of SQLite."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foothold_lab.harness.model.errors import InfrastructureError, UsageError
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.results_db.schema import APPLICATION, MIGRATIONS, Migration

TIMEOUT = 10.0  # seconds to wait for another writer, whose transaction takes milliseconds
MEMORY = Path(":memory:")
_CHOOSE_ANOTHER = "choose another file with --history or FOOTHOLD_HISTORY"


class HistoryError(InfrastructureError):
    """The history database cannot be read or written."""

    usual = Code.INFRASTRUCTURE_HISTORY


class Database:
    """An open history database. It is created if missing, and migrated to the newest schema.

    With `read_only` it must exist, and may be on a read-only file system. For one thread at a time. All
    methods raise HistoryError. Opening raises UsageError if there is nothing to read.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        timeout: float = TIMEOUT,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self.path = path
        self._timeout = timeout
        self._migrations = migrations
        if read_only and not path.exists():
            raise UsageError(
                f"there is no history in {path}",
                "every `foothold run` writes one; --history names another file",
            )
        if path != MEMORY:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HistoryError(
                    f"{path.parent} cannot be made: {error.strerror}", _CHOOSE_ANOTHER
                ) from error
        try:
            self._open(f"{path}")
        except HistoryError as error:
            if not read_only or not _needs_writing(error) or _has_unmerged(path):
                raise
            # a read-only file cannot change: SQLite needs neither locks nor files beside it
            self._open(f"{path.absolute().as_uri()}?immutable=1")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @functools.cached_property
    def scratch(self) -> Database:
        """A second database, in memory, for runs that are not in this one. Closed with it."""
        return Database(MEMORY)

    def close(self) -> None:
        """Close the database. The last connection merges the write-ahead log into the file."""
        if "scratch" in vars(self):
            self.scratch.close()
        with self._translated_errors():
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Execute all statements of the block, or none. A nested transaction is part of the outer one.

        Waits for other writers.
        """
        if self._connection.in_transaction:
            yield
            return
        with self._translated_errors():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back already
                    self._connection.execute("ROLLBACK")
                raise

    def execute(self, statement: str, *values: object) -> int:
        """Execute one statement. Returns the id of the inserted row."""
        with self._translated_errors():
            return self._connection.execute(statement, values).lastrowid or 0

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Execute a statement for each of these rows."""
        with self._translated_errors():
            self._connection.executemany(statement, rows)

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of a query; columns have names. A value that is not UTF-8 matches nothing."""
        told = (
            each.encode(errors="backslashreplace").decode() if isinstance(each, str) else each
            for each in values
        )
        with self._translated_errors():
            return self._connection.execute(statement, tuple(told)).fetchall()

    def value(self, statement: str, *values: object) -> Any:
        """Return the single value of a query, or None."""
        row = next(iter(self.rows(statement, *values)), None)
        return row[0] if row else None

    def _open(self, name: str) -> None:
        with contextlib.suppress(OSError):  # which SQLite explains
            # commands are in it; its log and index get the same mode
            if self.path != MEMORY and not self.path.exists():
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self._translated_errors():
            self._connection = sqlite3.connect(
                name,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,
                uri=name.startswith("file:"),
            )
            self._connection.row_factory = sqlite3.Row
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        newest = self._migrations[-1].version
        version = self._version()
        if version > newest:
            raise HistoryError(
                f"{self.path} was written by a newer Foothold: its schema is {version}, this one "
                f"knows up to {newest}",
                f"use that Foothold, or {_CHOOSE_ANOTHER}",
            )
        if version < newest:
            with self.transaction():
                self._migrate()
        # readers continue during a write, and a killed writer leaves no partial data. The mode is
        # permanent; a process that finds others at work leaves the change to the next one
        if self.value("PRAGMA journal_mode") != "wal":
            with contextlib.suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode = WAL")
        # no fsync for each cell: commits survive a crash of the process, not a loss of power
        self.execute("PRAGMA synchronous = NORMAL")
        self.execute("PRAGMA foreign_keys = ON")

    def _version(self) -> int:
        """Return the version of the schema, 0 of an empty file. One statement, because others may write."""
        [[application, version, tables]] = self.rows(
            "SELECT (SELECT application_id FROM pragma_application_id),"
            " (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)"
        )
        if tables and application != APPLICATION:
            raise HistoryError(f"{self.path} is the database of another program", _CHOOSE_ANOTHER)
        return int(version)

    def _migrate(self) -> None:
        version = self._version()  # another process may have migrated it
        for migration in self._migrations:
            if migration.version > version:
                for statement in migration.statements:
                    self.execute(statement)
                self.execute(f"PRAGMA user_version = {migration.version}")
        self.execute(f"PRAGMA application_id = {APPLICATION}")

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explain(self.path, error, self._timeout) from error


def _explain(path: Path, error: sqlite3.Error, timeout: float) -> HistoryError:
    # https://www.sqlite.org/rescode.html; what follows the first two words is detail
    code = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    told = {
        "SQLITE_BUSY": (
            f"{path} has been locked by another program for {timeout:g} s",
            f"find it with `{escape_shell(('fuser', str(path)))}`, or {_CHOOSE_ANOTHER}",
        ),
        "SQLITE_NOTADB": (f"{path} is not an SQLite database", _CHOOSE_ANOTHER),
        "SQLITE_CORRUPT": (
            f"{path} is damaged: {error}",
            "move it away: the next run makes a new one; "
            f"`{escape_shell(('sqlite3', str(path), '.recover'))}` may save it",
        ),
        "SQLITE_FULL": (f"there is no space for {path}", f"free space, or {_CHOOSE_ANOTHER}"),
        "SQLITE_READONLY": (f"{path} cannot be written", _CHOOSE_ANOTHER),
        "SQLITE_CANTOPEN": (f"{path} cannot be opened or written", _CHOOSE_ANOTHER),
    }
    message, remedy = told.get(code, (f"{path}: {error}", _CHOOSE_ANOTHER))
    return HistoryError(message, remedy)


def _needs_writing(error: HistoryError) -> bool:
    name = getattr(error.__cause__, "sqlite_errorname", "")
    return name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


def _has_unmerged(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
