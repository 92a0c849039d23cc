"""Cells whose result changed although all else was equal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from sqlite3 import Row

from foothold_lab.harness.results_db.database import Database


@dataclass(frozen=True, kw_only=True)
class Flaky:
    """A cell whose result changed. `outcomes` counts its results among the runs with equal inputs,
    `retries` those with another result when retried. `last_run` is the newest run with an unusual
    result.
    """

    cell: str
    outcomes: Mapping[str, int]
    retries: int
    last_run: str

    @property
    def runs(self) -> int:
        """The number of runs with equal inputs."""
        return sum(self.outcomes.values())


def flaky(database: Database, plan: str = "") -> list[Flaky]:
    """Return flaky cells, the most often changed first. Unsupported cells do not count.

    Results are compared if subject, images, kernel of the host, code of Foothold, expectation and guest
    are equal. Of a guest that never booted, only the former are known.
    """
    settings: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in database.rows(_CANDIDATES, plan):
        settings[row["base_name"], row["inputs_hash"]].append(row)
    changed: dict[str, list[_Changed]] = defaultdict(list)
    for (base_name, _), rows in settings.items():
        changed[base_name] += _among(rows)
    found = [_summarized(base_name, parts) for base_name, parts in changed.items() if parts]
    return sorted(found, key=lambda one: (-_odd(one.outcomes, one.retries) / one.runs, one.cell))


# An index alone finds the inputs with more than one result. Each row has a result, its number, and
# the newest run that had it.
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
    """A cell with equal inputs and an equal guest: its results, and its newest unusual run."""

    outcomes: Counter[str]
    retries: int
    last: tuple[float, str]


def _among(rows: Iterable[Row]) -> Iterator[_Changed]:
    """Split results with equal inputs by guest hash. Results without a guest belong to each part."""
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
    return Flaky(
        cell=base_name,
        outcomes=dict(outcomes),
        retries=retries,
        last_run=max(part.last for part in parts)[1],
    )


def _odd(outcomes: Mapping[str, int], retries: int) -> int:
    return sum(outcomes.values()) - max(outcomes.values()) + retries
