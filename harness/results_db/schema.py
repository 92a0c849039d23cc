"""The tables. A released migration never changes; a new one follows it."""

from __future__ import annotations

from dataclasses import dataclass

APPLICATION = 0x466F6F74  # "Foot": PRAGMA application_id, by which file(1) and we know our own


@dataclass(frozen=True)
class Migration:
    """The statements that migrate a database from the version before to this one."""

    version: int
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        1,
        (
            # state: running, finished, interrupted, broken; process: who writes it, see writer
            """
            CREATE TABLE runs (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL UNIQUE,
                plan TEXT NOT NULL,
                command TEXT NOT NULL,
                directory TEXT NOT NULL,
                version TEXT NOT NULL,
                revision TEXT NOT NULL,
                code TEXT NOT NULL,
                python TEXT NOT NULL,
                kernel TEXT NOT NULL,
                subjects TEXT NOT NULL,
                traced INTEGER NOT NULL,
                started REAL NOT NULL,
                seconds REAL,
                state TEXT NOT NULL,
                process TEXT NOT NULL
            )
            """,
            "CREATE INDEX runs_by_time ON runs (started)",
            "CREATE INDEX runs_of_plan ON runs (plan, started)",
            "CREATE INDEX runs_in_directory ON runs (directory)",
            # facts NULL if the guest never answered, and then failure says why; likeness: see space
            """
            CREATE TABLE boots (
                id INTEGER PRIMARY KEY,
                run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
                name TEXT NOT NULL,
                guest TEXT NOT NULL,
                seconds REAL,
                images TEXT NOT NULL DEFAULT '{}',
                facts TEXT,
                provenance TEXT NOT NULL DEFAULT '{}',
                notes TEXT NOT NULL DEFAULT '[]',
                argv TEXT NOT NULL DEFAULT '[]',
                likeness TEXT,
                failure TEXT NOT NULL DEFAULT ''
            )
            """,
            "CREATE INDEX boots_of_run ON boots (run)",
            # result NULL: the cell has no verdict (yet). question: the name without its repeat;
            # setting, came: see space
            """
            CREATE TABLE cells (
                id INTEGER PRIMARY KEY,
                run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
                boot INTEGER REFERENCES boots ON DELETE SET NULL,
                name TEXT NOT NULL,
                question TEXT NOT NULL,
                guest TEXT NOT NULL,
                limits TEXT NOT NULL,
                subject TEXT NOT NULL,
                policy TEXT NOT NULL,
                workload TEXT NOT NULL,
                setting TEXT,
                result TEXT,
                came TEXT,
                path TEXT,
                outcome TEXT,
                status INTEGER,
                blame TEXT,
                findings TEXT NOT NULL DEFAULT '[]',
                seconds REAL,
                retries INTEGER NOT NULL DEFAULT 0,
                flaky INTEGER NOT NULL DEFAULT 0,
                UNIQUE (run, name)
            )
            """,
            # covering: the counts of a run, the times of a cell, its verdicts by setting
            "CREATE INDEX cells_by_result ON cells (run, result)",
            "CREATE INDEX cells_by_time ON cells (question, run, result, seconds)",
            "CREATE INDEX cells_by_setting ON cells (question, setting, came)",
            "CREATE INDEX cells_flaky ON cells (run) WHERE flaky",
            # apart, so that a look through cells does not have to step over them; JSON, deflated
            """
            CREATE TABLE verdicts (
                cell INTEGER PRIMARY KEY REFERENCES cells ON DELETE CASCADE,
                json BLOB NOT NULL
            )
            """,
        ),
    ),
    # findings have codes: those of before get one that says so
    Migration(
        2,
        (
            "ALTER TABLE boots ADD COLUMN code TEXT NOT NULL DEFAULT ''",
            """
            UPDATE cells SET findings = (
                SELECT json_group_array(json_object('code', 'history/no-code', 'text', value))
                FROM json_each(findings)
            )
            WHERE findings != '[]'
            """,
        ),
    ),
    # columns are named after what they hold
    Migration(
        3,
        (
            "ALTER TABLE boots RENAME COLUMN likeness TO guest_hash",
            "ALTER TABLE cells RENAME COLUMN question TO base_name",
            "ALTER TABLE cells RENAME COLUMN setting TO inputs_hash",
            "ALTER TABLE cells RENAME COLUMN came TO outcome_key",
        ),
    ),
    # run NULL: found by `foothold threshold`, not by a survey; sizes are in bytes
    Migration(
        4,
        (
            """
            CREATE TABLE thresholds (
                id INTEGER PRIMARY KEY,
                run INTEGER REFERENCES runs ON DELETE CASCADE,
                at REAL NOT NULL,
                guest TEXT NOT NULL,
                subject TEXT NOT NULL,
                policy TEXT NOT NULL,
                kind TEXT NOT NULL,
                edge TEXT NOT NULL,
                smallest INTEGER,
                largest INTEGER
            )
            """,
            "CREATE INDEX thresholds_of_cells ON thresholds (guest, subject, policy, at)",
            "CREATE INDEX thresholds_of_run ON thresholds (run)",
        ),
    ),
    # the packages of images, by the names that boots.images has: JSON, a version of each package
    Migration(
        5,
        ("CREATE TABLE images (name TEXT PRIMARY KEY, packages TEXT NOT NULL) WITHOUT ROWID",),
    ),
)
