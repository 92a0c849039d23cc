"""Which cells share a boot, which are asked again, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner.retries import Tries
from tests.unit.harness import samples

A, B, C = (Cell("uml-6.1", Limits(rlimit_as=n), "after") for n in (1, 2, 3))


def good(cell: Cell) -> Verdict:
    return samples.verdict(cell)


def bad(cell: Cell, result: Result = Result.FAIL) -> Verdict:
    return samples.verdict(cell, result, f"it came to {result}", artefacts=f"/cells/{cell.id}")


def test_without_retries_every_verdict_is_final() -> None:
    tries = Tries([A, B])
    assert tries.batch() == [A, B]
    assert tries.take(A, bad(A)) == bad(A)
    assert tries.take(B, good(B)) == good(B)
    assert tries.batch() == []


def test_fresh_cells_have_a_boot_each() -> None:
    tries = Tries([A, B], fresh=True)
    assert tries.batch() == [A]
    tries.take(A, good(A))
    assert tries.batch() == [B]


def test_what_does_not_pass_is_asked_again_alone_when_all_others_are_done() -> None:
    tries = Tries([A, B, C], retries=1)
    assert tries.take(A, bad(A)) is None
    assert tries.take(B, good(B)) == good(B)
    assert tries.batch() == [C], "a hurt guest is replaced, and the rest goes on"
    assert tries.take(C, bad(C, Result.ERROR)) is None
    assert tries.batch() == [A]
    assert tries.number(A) == 2
    final = tries.take(A, good(A))
    assert final is not None
    assert final.result is Result.PASS
    assert final.flaky
    assert [each.findings for each in final.attempts] == [("it came to fail",)]
    assert final.attempts[0].artefacts == f"/cells/{A.id}"
    assert final.notes == ("flaky: passed at try 2; before that fail: it came to fail",)
    assert tries.batch() == [C]


def test_it_is_asked_so_many_times_and_no_more() -> None:
    tries = Tries([A], retries=2)
    assert tries.take(A, bad(A)) is None
    assert tries.take(A, bad(A, Result.ERROR)) is None
    final = tries.take(A, bad(A))
    assert final is not None
    assert [each.result for each in final.attempts] == [Result.FAIL, Result.ERROR]
    assert final.flaky, "it came to two things"
    assert tries.batch() == []


def test_the_same_failure_every_time_is_not_flaky() -> None:
    tries = Tries([A], retries=1)
    tries.take(A, bad(A))
    final = tries.take(A, bad(A))
    assert final is not None
    assert not final.flaky
    assert final.notes == ("not passed either at try 2; before that fail: it came to fail",)


def test_what_this_machine_cannot_do_is_not_asked_twice() -> None:
    tries = Tries([A], retries=3)
    required = replace(bad(A), blame=Blame.UNSUPPORTED)
    assert tries.take(A, required) == required
    tries = Tries([B], retries=3)
    lost = samples.verdict(B, Result.UNSUPPORTED)
    assert tries.take(B, lost) == lost


def test_cells_of_a_guest_that_did_not_boot_share_the_next_one() -> None:
    tries = Tries([A, B], retries=1)
    for cell in (A, B):
        assert tries.take(cell, bad(cell, Result.ERROR), ran=False) is None
    assert tries.batch() == [A, B]


def test_when_the_run_ends_the_last_try_counts() -> None:
    tries = Tries([A, B, C], retries=2)
    tries.take(A, bad(A))
    tries.take(B, bad(B, Result.ERROR))
    tries.take(B, bad(B))
    first, second = tries.give_up()
    assert (first.cell, first.result, first.attempts) == (A.id, Result.FAIL, ())
    assert "before it could be asked again" in first.notes[-1]
    assert (second.cell, [each.result for each in second.attempts]) == (B.id, [Result.ERROR])
    assert tries.waiting == [C], "it was never asked: it has no verdict"
