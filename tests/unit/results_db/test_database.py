"""Opening a history: what it becomes, and what is said if it cannot be opened or written."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.guests.host_probe import probe_host
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.results_db.database import Database, HistoryError
from foothold_lab.harness.results_db.models import StoredCell
from foothold_lab.harness.results_db.schema import APPLICATION, MIGRATIONS, Migration

ROOT = Path(__file__).parents[3]
NEXT = Migration(
    MIGRATIONS[-1].version + 1,
    ("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'good'", "CREATE TABLE moods (m)"),
)
RUN = (
    "INSERT INTO runs (name, plan, command, directory, version, revision, code, python, kernel,"
    " subjects, traced, started, state, process)"
    " VALUES ('r', 'p', '[]', '/r', '0', '', '', '', '', '{}', 1, 1.0, 'finished', '')"
)
CELL = (
    "INSERT INTO cells (run, name, question, guest, limits, subject, policy, workload, findings)"
    " VALUES (?, ?, 'q', 'native', 'none', 'allocator', 'after', 'default', ?)"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "history.db"


@pytest.fixture
def locked(file: Path) -> Iterator[Path]:
    """A history in which another program has begun to write, and does not end."""
    Database(file).close()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield file
    other.close()


def test_a_new_one_is_made_with_its_directory(file: Path) -> None:
    with Database(file) as database:
        assert database.value("PRAGMA journal_mode") == "wal"
        assert database.value("PRAGMA user_version") == MIGRATIONS[-1].version
        assert database.value("PRAGMA application_id") == APPLICATION
        assert database.value("PRAGMA foreign_keys") == 1
    assert [each.name for each in file.parent.iterdir()] == ["history.db"]


def test_versions_of_migrations_follow_each_other() -> None:
    assert [each.version for each in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_a_migration_keeps_what_is_there(file: Path) -> None:
    with Database(file) as database:
        database.execute(RUN)
    with Database(file, migrations=(*MIGRATIONS, NEXT)) as database:
        assert database.value("PRAGMA user_version") == NEXT.version
        assert database.value("SELECT mood FROM runs WHERE name = 'r'") == "good"


def test_findings_of_before_they_had_codes_get_one_that_says_so(file: Path) -> None:
    with Database(file, migrations=MIGRATIONS[:1]) as database:
        run = database.execute(RUN)
        for name, findings in (("one", '["it \u201cdied\u201d", "so"]'), ("two", "[]")):
            database.execute(CELL, run, name, findings)
    with Database(file) as database:
        one, two = map(StoredCell.of, database.rows("SELECT * FROM cells ORDER BY id"))
        assert one.findings == (
            Finding(Code.HISTORY_NO_CODE, "it “died”"),
            Finding(Code.HISTORY_NO_CODE, "so"),
        )
        assert two.findings == ()


def test_a_migration_that_fails_leaves_all_as_it_was(file: Path) -> None:
    with Database(file) as database:
        database.execute(RUN)
    bad = Migration(NEXT.version, (*NEXT.statements, "CREATE TABLE moods (again)"))
    with pytest.raises(HistoryError, match="moods already exists"):
        Database(file, migrations=(*MIGRATIONS, bad))
    with Database(file) as database:
        assert database.value("PRAGMA user_version") == MIGRATIONS[-1].version
        assert database.value("SELECT count(*) FROM sqlite_schema WHERE name = 'moods'") == 0
        assert "mood" not in database.rows("SELECT * FROM runs")[0]


def test_one_of_a_newer_foothold_is_left_alone(file: Path) -> None:
    Database(file, migrations=(*MIGRATIONS, NEXT)).close()
    before = file.read_bytes()
    with pytest.raises(
        HistoryError, match=f"newer Foothold: its schema is {NEXT.version}"
    ) as caught:
        Database(file)
    assert "--history" in caught.value.remedy
    assert file.read_bytes() == before


def test_the_database_of_another_program_is_left_alone(file: Path) -> None:
    file.parent.mkdir()
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE places (url)")
    other.close()
    before = file.read_bytes()
    with pytest.raises(HistoryError, match="database of another program"):
        Database(file)
    assert file.read_bytes() == before


def test_what_is_no_database(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("some text, longer than the header of a database would be: " * 40)
    with pytest.raises(HistoryError, match=r"history\.db is not an SQLite database"):
        Database(file)
    assert file.read_text().startswith("some text")


def test_a_damaged_one_is_told_with_what_can_be_done(file: Path) -> None:
    with Database(file) as database:
        database.execute_many(RUN.replace("'r'", "?"), [(f"r{n}",) for n in range(500)])
    data = bytearray(file.read_bytes())
    data[4096:-4096] = b"\x55" * (len(data) - 8192)
    file.write_bytes(data)
    with pytest.raises(HistoryError, match="is damaged") as caught, Database(file) as database:
        database.rows("SELECT * FROM runs")
    assert ".recover" in caught.value.remedy


def test_an_empty_file_becomes_one(file: Path) -> None:
    file.parent.mkdir()
    file.touch()
    with Database(file) as database:
        assert database.rows("SELECT * FROM runs") == []


def test_there_is_nothing_to_read(file: Path) -> None:
    with pytest.raises(UsageError, match="there is no history in"):
        Database(file, read_only=True)
    assert not file.parent.exists()


def test_locked_for_long(locked: Path) -> None:
    with Database(locked, timeout=0.05) as database:
        assert database.rows("SELECT * FROM runs") == [], "who reads does not wait"
        with pytest.raises(HistoryError, match=r"another program for 0\.05 s") as caught:
            database.execute(RUN)
    assert "fuser" in caught.value.remedy


def test_a_place_where_nothing_can_be_made() -> None:
    with pytest.raises(HistoryError, match="cannot be made"):
        Database(Path("/proc/none/history.db"))
    with pytest.raises(HistoryError, match="cannot be opened"):
        Database(Path("/proc/history.db"))


def test_a_transaction_comes_about_as_a_whole(file: Path) -> None:
    with Database(file) as database:
        with pytest.raises(KeyError), database.transaction():
            database.execute(RUN)
            with database.transaction():
                database.execute(RUN.replace("'r'", "'s'"))
            raise KeyError
        assert database.rows("SELECT * FROM runs") == []
        with database.transaction():
            database.execute(RUN)
        assert len(database.rows("SELECT * FROM runs")) == 1


# a file system of 256 KiB; what was committed before it was full stays
FULL = """
mount -t tmpfs -o size=256k none "$1"
"$2" -c '
import sys
from pathlib import Path
from harness.results_db.database import Database, HistoryError
from tests.unit.results_db.test_database import RUN
database = Database(Path(sys.argv[1]) / "history.db")
kept = 0
try:
    while True:
        with database.transaction():
            database.execute(RUN.replace("\\x27r\\x27", "?"), f"{kept}" * 200)
        kept += 1
except HistoryError as error:
    print(error, "|", error.remedy)
print(len(database.rows("SELECT * FROM runs")) == kept > 0, database.value("PRAGMA quick_check"))
' "$1"
"""
# the same file, where nothing may be written
FROZEN = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
"$2" -m foothold_lab.harness.cli history --history "$1/history.db"
"$2" -c '
import sys
from pathlib import Path
from harness.results_db.database import Database, HistoryError
try:
    Database(Path(sys.argv[1]) / "history.db").execute("DELETE FROM runs")
except HistoryError as error:
    print(error)
' "$1"
"""


def in_a_namespace(script: str, place: Path) -> str:
    if probe_host().namespaces:
        pytest.skip("this host refuses namespaces")
    if not shutil.which("mount"):
        pytest.skip("no mount here: Debian has it in a package of its own")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", script, "sh", str(place), sys.executable],
        capture_output=True, text=True, timeout=100, cwd=ROOT, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_the_disk_is_full(tmp_path: Path) -> None:
    told, kept = in_a_namespace(FULL, tmp_path).splitlines()
    assert told.startswith(f"there is no space for {tmp_path}/history.db | free space")
    assert kept == "True ok"


def test_a_file_system_that_may_only_be_read(tmp_path: Path) -> None:
    with Database(tmp_path / "history.db") as database:
        database.execute(RUN)
    listed, refused = in_a_namespace(FROZEN, tmp_path).splitlines()[1:]
    assert listed.startswith("r ")
    assert "cannot be written" in refused or "cannot be opened or written" in refused


def test_a_word_that_is_not_utf8_finds_nothing(file: Path) -> None:
    with Database(file) as database:
        database.execute(RUN)
        assert database.rows("SELECT * FROM runs WHERE name = ?", "r\udc80") == []


def test_columns_of_an_older_schema_get_their_new_names(file: Path) -> None:
    with Database(file, migrations=MIGRATIONS[:1]) as database:
        database.execute(RUN)
        database.execute(
            "INSERT INTO boots (run, name, guest, likeness) VALUES (1, 'native', 'native', 'like')"
        )
        database.execute(
            "INSERT INTO cells (run, name, question, guest, limits, subject, policy, workload,"
            " setting, came) VALUES (1, 'a~2', 'a', 'native', 'none', 's', 'p', 'w', 'set', 'pass')"
        )
    with Database(file) as database:
        [cell] = database.rows("SELECT base_name, inputs_hash, outcome_key FROM cells")
        assert tuple(cell) == ("a", "set", "pass")
        assert database.value("SELECT guest_hash FROM boots") == "like"
