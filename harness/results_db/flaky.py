"""Cells that cannot be trusted: they changed their verdict while nothing else changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from sqlite3 import Row

from foothold_lab.harness.results_db.database import Database


@dataclass(frozen=True)
class Flaky:
    """A cell; what it came to, and how often, in those settings in which it came to more than one
    thing; how often of these it came to something else when it was asked again. `last` is the
    newest run that was not as usual.
    """

    cell: str
    came: Mapping[str, int]
    retried: int
    last: str

    @property
    def runs(self) -> int:
        """How many times it was asked in those settings."""
        return sum(self.came.values())


def flaky(database: Database, plan: str = "") -> list[Flaky]:
    """Return them, those that change most often first. One that could not be asked has not changed.

    Verdicts are compared if subject, images, host's kernel, our own code and what the plan declares
    are the same, and what the guest says of itself is; of a guest that never answered nothing is
    known but the former.
    """
    settings: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in database.rows(_SUSPECTS, plan):
        settings[row["question"], row["setting"]].append(row)
    changed: dict[str, list[_Changed]] = defaultdict(list)
    for (question, _), rows in settings.items():
        changed[question] += _among(rows)
    found = [_told(question, parts) for question, parts in changed.items() if parts]
    return sorted(found, key=lambda one: (-_odd(one.came, one.retried) / one.runs, one.cell))


# in which settings a cell came to more than one thing is found in an index alone; each row is what
# it came to there, how often, and the newest run of these
_SUSPECTS = """
    WITH suspects AS (
        SELECT question, setting FROM cells WHERE came IS NOT NULL AND setting IS NOT NULL
        GROUP BY question, setting HAVING min(came) <> max(came)
        UNION SELECT question, setting FROM cells WHERE flaky
    )
    SELECT c.question, c.setting, c.came, c.flaky, b.likeness,
           count(*) AS times, max(r.started) AS started, r.name AS run
    FROM suspects s
    JOIN cells c ON c.question = s.question AND c.setting IS s.setting AND c.came IS NOT NULL
    JOIN runs r ON r.id = c.run
    LEFT JOIN boots b ON b.id = c.boot
    WHERE ? IN ('', r.plan)
    GROUP BY c.question, c.setting, c.came, c.flaky, b.likeness
"""


@dataclass(frozen=True)
class _Changed:
    """A cell in one setting and one likeness: what it came to, and its newest odd run."""

    came: Counter[str]
    retried: int
    last: tuple[float, str]


def _among(rows: Iterable[Row]) -> Iterator[_Changed]:
    """Part one setting by what guests were like; verdicts without a guest belong to each part."""
    likes = {row["likeness"] for row in rows if row["likeness"]} or {None}
    for like in sorted(likes, key=str):
        part = [row for row in rows if row["likeness"] in (like, None)]
        came: Counter[str] = Counter()
        for row in part:
            came[row["came"]] += row["times"]
        retried = sum(row["times"] for row in part if row["flaky"])
        if len(came) > 1 or retried:
            [(usual, _)] = came.most_common(1)
            odd = (row for row in part if row["flaky"] or row["came"] != usual)
            yield _Changed(came, retried, max((row["started"], row["run"]) for row in odd))


def _told(question: str, parts: list[_Changed]) -> Flaky:
    came = sum((part.came for part in parts), Counter[str]())
    retried = sum(part.retried for part in parts)
    return Flaky(question, dict(came), retried, max(part.last for part in parts)[1])


def _odd(came: Mapping[str, int], retried: int) -> int:
    return sum(came.values()) - max(came.values()) + retried
