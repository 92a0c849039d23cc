"""Cells that changed their verdict with nothing else changed, and those with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.facts import Cgroup
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.results_db.flaky import Flaky, flaky
from foothold_lab.harness.results_db.schema import MIGRATIONS
from tests.unit.harness import samples
from tests.unit.results_db import made

CELL = made.cell("uml-6.1")


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(MEMORY, migrations=MIGRATIONS) as database:
        yield database


def nights(
    database: Database, *outcome_key: Callable[[Cell], Verdict], **last: object
) -> list[Flaky]:
    """Run after run; what is given by name is of the last one alone."""
    for n, verdict in enumerate(outcome_key):
        run = made.Made(name=f"night-{n}", at=float(n), verdicts={CELL: verdict(CELL)})
        if n == len(outcome_key) - 1:
            run = replace(run, **last)  # type: ignore[arg-type]
        run.write(database)
    return flaky(database)


def test_steady_cells_are_not_flaky(database: Database) -> None:
    assert nights(database, made.passes, made.passes) == []


@pytest.mark.parametrize("other", [made.fails, made.breaks])
def test_a_verdict_that_changed_for_no_reason(
    database: Database, other: Callable[[Cell], Verdict]
) -> None:
    [one] = nights(database, made.passes, made.passes, other, made.passes)
    assert one.cell == CELL.id
    assert sorted(one.outcomes.values()) == [1, 3]
    assert one.outcomes["pass high allocates"] == 3
    assert (one.retries, one.last_run, one.runs) == (0, "night-2", 4)


def test_a_path_that_changed_though_the_result_did_not(database: Database) -> None:
    low = samples.verdict(CELL, observed=samples.observation(samples.LOW_ALLOCATES))
    [one] = nights(database, made.passes, lambda _: low)
    assert set(one.outcomes) == {"pass high allocates", "pass low allocates"}


def test_a_second_try_counts_though_the_run_passed(database: Database) -> None:
    [one] = nights(database, made.passes, made.second_try, made.passes)
    assert one == Flaky(
        cell=CELL.id, outcomes={"pass high allocates": 3}, retries=1, last_run="night-1"
    )


def test_a_guest_that_once_did_not_boot(database: Database) -> None:
    """Nothing is known of it but what it was booted from, and that is the same."""
    [one] = nights(database, made.passes, made.breaks, facts={"uml-6.1": None})
    assert one.outcomes == {"pass high allocates": 1, "error": 1}


def test_what_could_not_be_asked_has_not_changed(database: Database) -> None:
    assert nights(database, made.passes, made.unsupported) == []


@pytest.mark.parametrize(
    "reason",
    [
        {"images": {"uml-6.1": {"kernel": "kernel-2"}}},
        {"foothold": replace(made.HERE, code="c0df")},
        {"foothold": replace(made.HERE, kernel="6.19")},
        {"foothold": replace(made.HERE, python="3.12.1")},
        {"subjects": {"allocator": "s2"}},
        {"trace": False},
        {"provenance": {"accelerator": "kvm"}},
        {"facts": {"uml-6.1": replace(samples.facts(), task_size=0x7FC0000000)}},
        {"facts": {"uml-6.1": replace(samples.facts(), cgroup=Cgroup(2, 1 << 20))}},
    ],
    ids=lambda reason: next(iter(reason)),
)
def test_what_has_a_reason_is_not_flaky(database: Database, reason: dict[str, object]) -> None:
    assert nights(database, made.passes, made.passes, made.fails, **reason) == []


@pytest.mark.parametrize(
    "trifle",
    [
        {"foothold": replace(made.HERE, revision="def")},  # another commit of the same code
        {"provenance": {"container": "7f"}},
        {"facts": {"uml-6.1": replace(samples.facts(), first=0x7F0000000000, memory=7)}},
        {"plan": "release"},
    ],
    ids=lambda trifle: next(iter(trifle)),
)
def test_what_explains_nothing_is_no_reason(database: Database, trifle: dict[str, object]) -> None:
    assert len(nights(database, made.passes, made.fails, **trifle)) == 1


def test_another_expectation_is_a_reason(database: Database) -> None:
    made.Made(name="a", at=1.0, verdicts={CELL: made.passes(CELL)}).write(database)
    other = replace(CELL, expected=samples.LOW_ALLOCATES)
    made.Made(name="b", at=2.0, verdicts={other: made.fails(other)}).write(database)
    assert flaky(database) == []


def test_a_cell_is_told_once_whatever_it_was_asked_with(database: Database) -> None:
    for n, (code, verdict) in enumerate(
        [
            ("1", made.passes),
            ("1", made.fails),
            ("2", made.passes),
            ("2", made.fails),
            ("2", made.passes),
            ("3", made.passes),
        ]
    ):
        origin = replace(made.HERE, code=code)
        made.Made(name=f"n{n}", at=float(n), verdicts={CELL: verdict(CELL)}, foothold=origin).write(
            database
        )
    [one] = flaky(database)
    assert one.outcomes == {"pass high allocates": 3, "fail low allocates": 2}
    assert one.last_run == "n3"
    assert one.runs == 5, "with the third code it has come to one thing so far"


def test_repeats_of_one_run_can_disagree(database: Database) -> None:
    again = replace(CELL, repeat=2)
    made.Made(name="r", at=1.0, verdicts={CELL: made.passes(CELL), again: made.fails(again)}).write(
        database
    )
    [one] = flaky(database)
    assert (one.cell, one.runs) == (CELL.id, 2)


def test_of_one_plan(database: Database) -> None:
    assert len(nights(database, made.passes, made.fails)) == 1
    assert len(flaky(database, "nightly")) == 1
    assert flaky(database, "release") == []


def test_the_worst_first(database: Database) -> None:
    often, once = made.cell("native"), made.cell("docker")
    for n in range(6):
        verdicts = {
            often: (made.fails if n % 2 else made.passes)(often),
            once: (made.fails if n == 3 else made.passes)(once),
        }
        made.Made(name=f"n{n}", at=float(n), verdicts=verdicts).write(database)
    assert [one.cell for one in flaky(database)] == [often.id, once.id]
