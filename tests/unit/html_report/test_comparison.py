"""Two runs side by side."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from foothold_lab.harness.html_report.comparison import ChangeKind, Comparison, compare_runs
from foothold_lab.harness.html_report.read import Run, read_run
from foothold_lab.harness.model.events import AnyEvent, GuestReady
from foothold_lab.harness.model.facts import Hint
from foothold_lab.harness.model.verdict import Expectation, Observation, ReservationPath, Result
from tests.unit.harness import samples
from tests.unit.html_report import runs

CELL = samples.cell()
GUEST = samples.ready("native")


def seen(expected: Expectation = samples.HIGH_ALLOCATES, **changes: object) -> Observation:
    return samples.observation(expected, **changes)


def run(directory: Path, *happened: AnyEvent) -> Run:
    return read_run(runs.write(directory, [samples.started(CELL), *happened], evidence=False))


def both(directory: Path, before: AnyEvent | None, now: AnyEvent | None) -> Comparison:
    one = run(directory / "before", *([before] if before else []))
    return compare_runs(one, run(directory / "now", *([now] if now else [])))


PASSED = samples.done(CELL, observed=seen())
FAILED = samples.done(CELL, Result.FAIL, "no", observed=seen(path=None, outcome=None))
BROKE = samples.done(CELL, Result.ERROR, "it hung")
LOW = samples.done(CELL, observed=seen(samples.LOW_ALLOCATES))
DIED = samples.done(CELL, observed=seen(outcome=samples.DIES.outcome, status=2))
OTHERWISE = samples.done(CELL, Result.FAIL, "other words", observed=seen(path=ReservationPath.LOW))
UNSUPPORTED = samples.done(CELL, Result.UNSUPPORTED, "no engine")


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        (PASSED, PASSED, None),
        (BROKE, BROKE, None),
        (None, None, None),
        (PASSED, FAILED, ChangeKind.BROKEN),
        (UNSUPPORTED, BROKE, ChangeKind.BROKEN),
        (None, FAILED, ChangeKind.BROKEN),
        (FAILED, PASSED, ChangeKind.REPAIRED),
        (BROKE, UNSUPPORTED, ChangeKind.RESULT),
        (PASSED, None, ChangeKind.RESULT),
        (FAILED, BROKE, ChangeKind.RESULT),
        (PASSED, LOW, ChangeKind.PATH),
        (FAILED, OTHERWISE, ChangeKind.PATH),
        (PASSED, DIED, ChangeKind.ANSWER),
    ],
)
def test_what_is_a_change(
    tmp_path: Path, before: AnyEvent | None, now: AnyEvent | None, kind: ChangeKind | None
) -> None:
    found = both(tmp_path, before, now)
    assert [change.kind for change in found.changes] == ([kind] if kind else [])
    assert found.same == (0 if kind else 1)
    assert found.empty is (kind is None)


def test_a_change_is_told_with_both_sides(tmp_path: Path) -> None:
    (change,) = both(tmp_path, PASSED, BROKE).changes
    assert (change.before, change.now) == ("pass: high, allocates", "error: it hung")


def test_cells_that_only_one_run_has(tmp_path: Path) -> None:
    other = samples.cell("docker")
    earlier = run(tmp_path / "before", PASSED)
    now = read_run(runs.write(tmp_path / "now", [samples.started(other)], evidence=False))
    found = compare_runs(earlier, now)
    assert (found.came, found.gone) == ((other.id,), (CELL.id,))


def drifted(directory: Path, now: GuestReady, before: GuestReady = GUEST) -> list[str]:
    return [drift.what for drift in both(directory, before, now).drifts]


def changed(facts: dict[str, object], **more: object) -> GuestReady:
    values = {"facts": msgspec.structs.replace(GUEST).facts, **more}
    from dataclasses import replace

    return msgspec.structs.replace(GUEST, **values | {"facts": replace(GUEST.facts, **facts)})  # type: ignore[arg-type]


def test_a_kernel_that_changed_under_us(tmp_path: Path) -> None:
    now = changed({"release": "6.13.1"}, provenance={"kernel": "6.13"})
    assert drifted(tmp_path, now) == ["kernel", "kernel"]


def test_where_the_cache_is_and_what_a_container_is_called_is_no_change(tmp_path: Path) -> None:
    now = changed({}, provenance={"kernel": "/a/cache/uml-1/linux", "container": "1"})
    before = changed({}, provenance={"kernel": "/b/uml-1/linux", "container": "2"})
    assert drifted(tmp_path, now, before) == []


def test_what_is_drawn_by_lot_is_no_change(tmp_path: Path) -> None:
    lots = {"aslr_bits": 28, "first": 0x7F0000000000, "hint_high": Hint(samples.HIGH, 0x7F1000, 0)}
    again = {"aslr_bits": 27, "first": 0x7F2222222000, "hint_high": Hint(samples.HIGH, 0x7F3000, 0)}
    assert drifted(tmp_path, changed(again), changed(lots)) == []
    granted = {**again, "hint_high": Hint(samples.HIGH, samples.HIGH, 0)}
    assert drifted(tmp_path / "more", changed(granted), changed(lots)) == ["high hint"]
