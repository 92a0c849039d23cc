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
    outcomes: Mapping[str, int]
    retries: int
    last_run: str

    @property
    def runs(self) -> int:
        """How many times it was asked in those settings."""
        return sum(self.outcomes.values())


def flaky(database: Database, plan: str = "") -> list[Flaky]:
    """Return them, those that change most often first. One that could not be asked has not changed.

    Verdicts are compared if subject, images, host's kernel, our own code and what the plan declares
    are the same, and what the guest says of itself is; of a guest that never answered nothing is
    known but the former.
    """
    settings: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in database.rows(_CANDIDATES, plan):
        settings[row["base_name"], row["inputs_hash"]].append(row)
    changed: dict[str, list[_Changed]] = defaultdict(list)
    for (base_name, _), rows in settings.items():
        changed[base_name] += _among(rows)
    found = [_summarized(base_name, parts) for base_name, parts in changed.items() if parts]
    return sorted(found, key=lambda one: (-_odd(one.outcomes, one.retries) / one.runs, one.cell))


# in which settings a cell came to more than one thing is found in an index alone; each row is what
# it came to there, how often, and the newest run of these
_CANDIDATES = """
    WITH suspects AS (
        SELECT base_name, inputs_hash FROM cells WHERE outcome_key IS NOT NULL AND inputs_hash IS NOT NULL
        GROUP BY base_name, inputs_hash HAVING min(outcome_key) <> max(outcome_key)
        UNION SELECT base_name, inputs_hash FROM cells WHERE flaky
    )
    SELECT c.base_name, c.inputs_hash, c.outcome_key, c.flaky, b.guest_hash,
           count(*) AS times, max(r.started) AS started, r.name AS run
    FROM suspects s
    JOIN cells c ON c.base_name = s.base_name AND c.inputs_hash IS s.inputs_hash AND c.outcome_key IS NOT NULL
    JOIN runs r ON r.id = c.run
    LEFT JOIN boots b ON b.id = c.boot
    WHERE ? IN ('', r.plan)
    GROUP BY c.base_name, c.inputs_hash, c.outcome_key, c.flaky, b.guest_hash
"""


@dataclass(frozen=True)
class _Changed:
    """A cell in one inputs_hash and one guest_hash: what it came to, and its newest odd run."""

    outcomes: Counter[str]
    retries: int
    last: tuple[float, str]


def _among(rows: Iterable[Row]) -> Iterator[_Changed]:
    """Part one inputs_hash by what guests were like; verdicts without a guest belong to each part."""
    likes = {row["guest_hash"] for row in rows if row["guest_hash"]} or {None}
    for like in sorted(likes, key=str):
        part = [row for row in rows if row["guest_hash"] in (like, None)]
        outcomes: Counter[str] = Counter()
        for row in part:
            outcomes[row["outcome_key"]] += row["times"]
        retries = sum(row["times"] for row in part if row["flaky"])
        if len(outcomes) > 1 or retries:
            [(usual, _)] = outcomes.most_common(1)
            odd = (row for row in part if row["flaky"] or row["outcome_key"] != usual)
            yield _Changed(outcomes, retries, max((row["started"], row["run"]) for row in odd))


def _summarized(base_name: str, parts: list[_Changed]) -> Flaky:
    outcomes = sum((part.outcomes for part in parts), Counter[str]())
    retries = sum(part.retries for part in parts)
    return Flaky(base_name, dict(outcomes), retries, max(part.last for part in parts)[1])


def _odd(outcomes: Mapping[str, int], retries: int) -> int:
    return sum(outcomes.values()) - max(outcomes.values()) + retries
