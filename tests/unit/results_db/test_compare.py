"""What is told of two runs, and what noise is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.facts import Hint
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.compare import Change, Comparison, Difference, compare_runs
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.results_db.timing_stats import (
    MAX_SAMPLES,
    MIN_SAMPLES,
    MIN_SECONDS,
    MIN_SHARE,
    typical_time,
)
from tests.unit.harness import samples
from tests.unit.results_db import made

ONE, TWO = made.cell("native"), made.cell("uml-6.1")


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(MEMORY) as database:
        yield database


def compared(database: Database, before: made.Made, now: made.Made) -> Comparison:
    before.write(database)
    now.write(database)
    a, b = reader.find(database, before.name), reader.find(database, now.name)
    return compare_runs(a, b, reader.earlier_durations(database, b))


def runs(
    before: Mapping[Cell, Verdict], now: Mapping[Cell, Verdict], **more: object
) -> tuple[made.Made, made.Made]:
    """Two runs; what more is given is of the second alone."""
    return made.Made(name="a", at=1.0, verdicts=before), replace(
        made.Made(name="b", at=2.0, verdicts=now), **more
    )  # type: ignore[arg-type]


def test_an_image_that_changed_names_the_packages_that_changed(database: Database) -> None:
    old, new = ({"uml-6.1": {"kernel": f"kernel-{number}", "root": "root-1"}} for number in (1, 2))
    before = made.Made(
        name="a", at=1.0, verdicts={TWO: made.passes(TWO)}, images=old,
        packages={"kernel-1": {"linux": "6.1-1", "gone": "1"}, "root-1": {"libc6": "2.36"}},
    )  # fmt: skip
    now = replace(
        before, name="b", at=2.0, images=new,
        packages={"kernel-2": {"linux": "6.1-2"}, "root-1": {"libc6": "2.36"}},
    )  # fmt: skip
    found = compared(database, before, now)
    assert found.changed_kernels == (
        Difference(guest="uml-6.1", what="image kernel", before="kernel-1", now="kernel-2"),
        Difference(guest="uml-6.1", what="package gone", before="1", now="none"),
        Difference(guest="uml-6.1", what="package linux", before="6.1-1", now="6.1-2"),
    )


def test_nothing_differs(database: Database) -> None:
    verdicts = {ONE: made.passes(ONE), TWO: made.fails(TWO)}
    found = compared(database, *runs(verdicts, verdicts))
    assert found.same
    assert found.common == 2


@pytest.mark.parametrize(
    ("before", "now", "where"),
    [
        (made.passes, made.fails, "new_failures"),
        (made.passes, made.breaks, "new_failures"),
        (made.unsupported, made.fails, "new_failures"),
        (made.breaks, made.fails, "new_failures"),
        (made.fails, made.passes, "repaired"),
        (made.breaks, made.passes, "repaired"),
        (made.fails, made.breaks, "lost_answers"),
        (made.passes, made.unsupported, "lost_answers"),
        (made.fails, made.fails, ""),
        (made.unsupported, made.passes, ""),
    ],
)
def test_what_became_of_a_cell(database: Database, before: object, now: object, where: str) -> None:
    found = compared(database, *runs({ONE: before(ONE)}, {ONE: now(ONE)}))  # type: ignore[operator]
    for name in ("new_failures", "repaired", "lost_answers"):
        cells = [change.cell for change in getattr(found, name)]
        assert cells == ([ONE.id] if name == where else []), name


def test_a_change_says_both_sides_and_why(database: Database) -> None:
    found = compared(database, *runs({ONE: made.passes(ONE)}, {ONE: made.fails(ONE)}))
    change = Change(
        cell=ONE.id,
        before="pass (high, allocates)",
        now="fail (low, allocates)",
        finding=samples.finding("the plan expects high"),
    )
    assert found.new_failures == found.changed_paths == (change,)


def test_a_path_that_changed_though_both_pass(database: Database) -> None:
    low = samples.verdict(ONE, observed=samples.observation(samples.LOW_ALLOCATES))
    found = compared(database, *runs({ONE: made.passes(ONE)}, {ONE: low}))
    assert [change.now for change in found.changed_paths] == ["pass (low, allocates)"]
    assert not found.new_failures


def test_cells_of_one_run_alone(database: Database) -> None:
    before, now = runs({ONE: made.passes(ONE)}, {TWO: made.fails(TWO)})
    found = compared(database, before, replace(now, missing=(ONE,), interrupted=True))
    assert found.only_a == (ONE.id,), "it was not reached"
    assert found.only_b == (TWO.id,)
    assert [change.before for change in found.new_failures] == ["not asked"]


def test_what_passed_only_when_it_was_asked_again(database: Database) -> None:
    found = compared(database, *runs({ONE: made.passes(ONE)}, {ONE: made.second_try(ONE)}))
    assert found.flaky == (ONE.id,)
    assert not found.new_failures


def test_a_kernel_that_changed_under_us(database: Database) -> None:
    verdicts = {ONE: made.passes(ONE), TWO: made.passes(TWO)}
    other = replace(samples.facts(), release="6.1.177")
    found = compared(
        database,
        *runs(
            verdicts,
            verdicts,
            images={"uml-6.1": {"kernel": "kernel-2"}},
            facts={"uml-6.1": other},
        ),
    )
    assert found.changed_kernels == (
        Difference(guest="uml-6.1", what="release", before="6.12.113", now="6.1.177"),
        Difference(guest="uml-6.1", what="image kernel", before="kernel-1", now="kernel-2"),
    )
    assert found.changed_facts == ()


def test_facts_that_changed_and_those_that_always_do(database: Database) -> None:
    other = replace(
        samples.facts(),
        first=0x41000000,
        aslr_bits=3,
        committed=1,
        memory=1,
        commit_limit=2,
        task_size=0x7FC0000000,
        hint_high=Hint(samples.HIGH, 0x40000000, 0),
        hint_beyond=Hint(0x7FC0000000, 0x41000000, 0),
    )
    verdicts = {TWO: made.passes(TWO)}
    found = compared(database, *runs(verdicts, verdicts, facts={"uml-6.1": other}))
    assert found.changed_facts == (
        Difference(guest="uml-6.1", what="hint_high", before="granted", now="moved"),
        Difference(guest="uml-6.1", what="task_size", before="0x7ffffffff000", now="0x7fc0000000"),
    )


def test_what_the_runs_were_made_with(database: Database) -> None:
    verdicts = {ONE: made.passes(ONE)}
    found = compared(
        database,
        *runs(
            verdicts,
            verdicts,
            foothold=replace(made.HERE, kernel="6.19"),
            trace=False,
            subjects={"allocator": "s2"},
            provenance={"accelerator": "kvm", "container": "1f"},
        ),
    )
    assert found.changed_inputs == (
        Difference(guest="", what="kernel", before="6.18", now="6.19"),
        Difference(guest="", what="allocator", before="s1", now="s2"),
        Difference(guest="", what="traced", before="True", now="False"),
    )


def test_an_accelerator_that_changed(database: Database) -> None:
    verdicts = {ONE: made.passes(ONE)}
    before, now = runs(verdicts, verdicts, provenance={"accelerator": "tcg", "container": "2"})
    before = replace(before, provenance={"accelerator": "kvm", "container": "1"})
    found = compared(database, before, now)
    assert found.changed_kernels == (
        Difference(guest="native", what="accelerator", before="kvm", now="tcg"),
    )


def test_slower_than_earlier_runs_explain(database: Database) -> None:
    times = [0.30, 0.31, 0.29, 0.33, 0.30, 0.90, 0.31]
    for n, seconds in enumerate(times):
        made.Made(name=f"old-{n}", at=-10.0 + n, verdicts={ONE: made.passes(ONE, seconds)}).write(
            database
        )
    later = made.Made(name="later", at=9.0, verdicts={ONE: made.passes(ONE, 60.0)})
    later.write(database)  # what comes afterwards says nothing of what was usual
    found = compared(database, *runs({ONE: made.passes(ONE, 0.3)}, {ONE: made.passes(ONE, 0.6)}))
    [slow] = found.slowdowns
    assert (slow.cell, slow.seconds, slow.samples) == (ONE.id, 0.6, 8)
    assert slow.typical == pytest.approx(0.305)
    again = compare_runs(
        reader.find(database, "a"),
        reader.find(database, "old-3"),
        reader.earlier_durations(database, reader.find(database, "old-3")),
    )
    assert again.slowdowns == (), "after three runs nothing can be said"


def test_repeats_and_errors_are_no_measure(database: Database) -> None:
    cells = [replace(ONE, repeat=n) for n in (1, 2, 3)]
    made.Made(name="x", at=0.5, verdicts={cell: made.passes(cell, 0.2) for cell in cells}).write(
        database
    )
    made.Made(name="y", at=0.6, verdicts={ONE: made.breaks(ONE)}).write(database)
    made.Made(name="z", at=0.7, verdicts={ONE: made.passes(ONE, 0.1)}).write(database)
    times = reader.earlier_durations(database, reader.find(database, "z"))
    assert times == {ONE.id: [0.2, 0.2, 0.2]}


def test_the_times_of_cells_and_boots_foretell_those_of_the_next_run(database: Database) -> None:
    for n, seconds in enumerate((0.2, 0.4, 0.6)):
        made.Made(name=f"{n}", at=float(n), verdicts={ONE: made.passes(ONE, seconds)}).write(
            database
        )
    assert reader.median_durations(database) == {ONE.id: 0.4}
    assert reader.median_boots(database) == {ONE.guest: made.samples.ready(ONE.guest).seconds}


def test_too_few_times_say_nothing() -> None:
    assert typical_time([0.1] * (MIN_SAMPLES - 1)) is None


def test_noise_is_what_the_latest_times_were_like() -> None:
    even = typical_time([0.10] * MIN_SAMPLES)
    assert even
    assert even.longest == pytest.approx(0.10 + MIN_SECONDS), "equal times have no spread"
    long = typical_time([10.0] * MIN_SAMPLES)
    assert long
    assert long.longest == pytest.approx(10 * (1 + MIN_SHARE))
    restless = typical_time([1.0, 2.0, 3.0, 4.0, 5.0])
    assert restless
    assert (restless.median, restless.spread) == (3.0, pytest.approx(1.4826))
    assert restless.longest == pytest.approx(3 + 5 * 1.4826)


@given(st.lists(st.floats(0.01, 1000), min_size=MIN_SAMPLES, max_size=2 * MAX_SAMPLES))
def test_one_of_the_usual_times_at_least_is_usual(times: list[float]) -> None:
    known = typical_time(times)
    assert known
    assert known.samples <= MAX_SAMPLES
    assert min(times) <= known.median < known.longest
    # a few runs on a busy machine move neither
    spoilt = typical_time([*[9999.0] * ((len(times[:MAX_SAMPLES]) - 1) // 2), *times][:MAX_SAMPLES])
    assert spoilt and spoilt.median <= 9999


def test_compares_the_probes_of_two_kernels_by_name(database: Database) -> None:
    cell = Cell(guest="uml-own", limits=ONE.limits, policy="", subject="conformance-signal")
    before, now = (
        replace(
            made.passes(cell),
            observed=samples.observation(
                samples.HIGH_ALLOCATES, evidence={"probes": "3 were asked", **differ}
            ),
        )
        for differ in (
            {"probe signal/one": "lost [conformance/known]", "probe signal/two": "lost"},
            {"probe signal/one": "lost", "probe signal/three": "0, not 1"},
        )
    )
    found = compared(database, *runs({cell: before}, {cell: now}))
    [broken], [repaired] = found.broken_probes, found.repaired_probes
    assert (broken.cell, broken.probe, broken.measured) == (cell.id, "signal/three", "0, not 1")
    assert repaired.probe == "signal/two"
    assert not found.same


def test_a_probe_that_was_not_asked_is_not_repaired(database: Database) -> None:
    cell = Cell(guest="uml-own", limits=ONE.limits, policy="", subject="conformance-x.y")
    observed = samples.observation(samples.HIGH_ALLOCATES, evidence={"probe x/y": "it died"})
    died = replace(made.passes(cell), observed=observed)
    found = compared(database, *runs({cell: died}, {cell: replace(died, observed=None)}))
    assert not found.repaired_probes
    assert not found.broken_probes
