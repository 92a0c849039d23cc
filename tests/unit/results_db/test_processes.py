"""Several processes, one history: nothing is lost, nothing is half, whoever is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import State

ROOT = Path(__file__).parents[3]


def start(file: Path, name: str, cells: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.results_db.writing", str(file), name, str(cells)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def go(*writers: subprocess.Popen[str]) -> None:
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()


def kill(writer: subprocess.Popen[str]) -> list[str]:
    """Kill it; answers the cells that it has told since it was last listened to."""
    writer.kill()
    with writer:
        assert writer.stdout
        return writer.stdout.read().splitlines()


def done(database: Database, run: str) -> set[str]:
    """The cells with a whole verdict."""
    kept = reader.find(database, run)
    return {cell.name for cell in kept.cells if cell.result is Result.PASS and kept.verdict(cell)}


def is_sound(database: Database) -> bool:
    return (
        database.value("PRAGMA integrity_check") == "ok"
        and database.rows("PRAGMA foreign_key_check") == []
    )


def test_writers_at_once_from_the_very_first_moment(tmp_path: Path) -> None:
    file = tmp_path / "new" / "history.db"
    writers = [start(file, f"run-{n}", 60) for n in range(5)]
    go(*writers)
    told = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 5, told
    with Database(file, read_only=True) as database:
        assert is_sound(database)
        assert {run.state for run in reader.runs(database)} == {State.FINISHED}
        for n, (out, _) in enumerate(told):
            assert done(database, f"run-{n}") == set(out.split())
            assert len(out.split()) == 60


@pytest.mark.parametrize("after", [1, 17, 40])
def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path, after: int) -> None:
    file = tmp_path / "history.db"
    killed, other = start(file, "killed", 3_000), start(file, "other", 120)
    go(killed, other)
    assert killed.stdout
    committed = [killed.stdout.readline().strip() for _ in range(after)]
    with Database(file, read_only=True) as database:
        assert reader.find(database, "killed").run.state is State.RUNNING
    committed += kill(killed)
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err
    with Database(file, read_only=True) as database:
        assert is_sound(database)
        assert done(database, "other") == set(out.split())
        found = done(database, "killed")
        # the last one may be in it and not yet told
        assert set(committed) <= found
        assert len(found) <= len(committed) + 1
        run = reader.find(database, "killed").run
        assert run.state is State.KILLED
        assert run.counts == {"pass": len(found), "not-run": 3_000 - len(found)}


def test_killed_while_nobody_else_was_there(tmp_path: Path) -> None:
    """The next one to open the file brings in what only the log has."""
    file = tmp_path / "history.db"
    killed = start(file, "killed", 1000)
    go(killed)
    assert killed.stdout
    committed = {killed.stdout.readline().strip() for _ in range(25)}
    committed |= set(kill(killed))
    assert file.with_name("history.db-wal").stat().st_size > 0
    again = start(file, "again", 3)
    go(again)
    assert again.communicate(timeout=60) and again.returncode == 0
    with Database(file, read_only=True) as database:
        assert is_sound(database)
        assert committed <= done(database, "killed")
        assert reader.find(database, "last").run.name == "again"
