"""Cells that cannot be trusted: they changed their verdict while nothing else changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from sqlite3 import Row

from harness.history.database import Database


@dataclass(frozen=True)
class Flaky:
    """A cell, what it came to in one and the same setting and how often, and how often of these it
    came to something else when it was asked again. `last` is the newest run that was not as usual.
    """

    cell: str
    came: Mapping[str, int]
    retried: int
    last: str

    @property
    def runs(self) -> int:
        """How many runs have asked it in that setting."""
        return sum(self.came.values())


def flaky(database: Database, plan: str = "") -> list[Flaky]:
    """Return them, those that change most often first. One that could not be asked has not changed.

    Verdicts are compared if subject, images, host's kernel, our own code and what the plan declares
    are the same, and what the guest says of itself is; of a guest that never answered nothing is
    known but the former.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in database.rows(_CANDIDATES, plan):
        groups[row["question"], row["setting"]].append(row)
    found = [one for rows in groups.values() for one in _among(rows)]
    return sorted(found, key=lambda one: (-_changes(one) / one.runs, one.cell))


# the groups are found in an index alone; the rest is looked up for these few
_CANDIDATES = """
    WITH suspects AS (
        SELECT question, setting FROM cells WHERE came IS NOT NULL AND setting IS NOT NULL
        GROUP BY question, setting HAVING min(came) <> max(came)
        UNION SELECT question, setting FROM cells WHERE flaky
    )
    SELECT c.question, c.setting, c.came, c.flaky, b.likeness, r.name AS run
    FROM suspects s
    JOIN cells c ON c.question = s.question AND c.setting IS s.setting AND c.came IS NOT NULL
    JOIN runs r ON r.id = c.run
    LEFT JOIN boots b ON b.id = c.boot
    WHERE ? IN ('', r.plan)
    ORDER BY r.started, r.id
"""


def _among(rows: list[Row]) -> Iterator[Flaky]:
    """Part one setting by what guests were like; verdicts without a guest belong to each part."""
    likes = {row["likeness"] for row in rows if row["likeness"]} or {None}
    for like in sorted(likes, key=str):
        part = [row for row in rows if row["likeness"] in (like, None)]
        came = Counter(row["came"] for row in part)
        retried = [row for row in part if row["flaky"]]
        if len(came) > 1 or retried:
            [(usual, _)] = came.most_common(1)
            odd = [row["run"] for row in part if row["flaky"] or row["came"] != usual]
            yield Flaky(part[0]["question"], dict(came), len(retried), odd[-1])


def _changes(one: Flaky) -> int:
    return one.runs - max(one.came.values()) + one.retried
