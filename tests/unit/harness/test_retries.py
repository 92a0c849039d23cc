"""Retries: which cells share a boot, which cells run again, and what the final verdict records."""

from __future__ import annotations

from dataclasses import replace

from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner.retries import RetryQueue
from tests.unit.harness import samples

A, B, C = (Cell(guest="uml-6.1", limits=Limits(rlimit_as=n), policy="after") for n in (1, 2, 3))


def passed(cell: Cell) -> Verdict:
    return samples.verdict(cell)


def failed(cell: Cell, result: Result = Result.FAIL) -> Verdict:
    return samples.verdict(cell, result, f"it came to {result}", artefacts=f"/cells/{cell.id}")


def test_every_verdict_is_final_without_retries() -> None:
    queue = RetryQueue([A, B])
    assert queue.next_batch() == [A, B]
    assert queue.record(A, failed(A)) == failed(A)
    assert queue.record(B, passed(B)) == passed(B)
    assert queue.next_batch() == []


def test_fresh_gives_each_cell_a_boot_of_its_own() -> None:
    queue = RetryQueue([A, B], fresh=True)
    assert queue.next_batch() == [A]
    queue.record(A, passed(A))
    assert queue.next_batch() == [B]


def test_retries_a_cell_alone_after_all_others() -> None:
    queue = RetryQueue([A, B, C], retries=1)
    assert queue.record(A, failed(A)) is None
    assert queue.record(B, passed(B)) == passed(B)
    assert queue.next_batch() == [C], "a damaged guest is replaced for the other cells"
    assert queue.record(C, failed(C, Result.ERROR)) is None
    assert queue.next_batch() == [A]
    assert queue.attempt(A) == 2
    final = queue.record(A, passed(A))
    assert final is not None
    assert final.result is Result.PASS
    assert final.flaky
    assert [each.findings for each in final.attempts] == [(samples.finding("it came to fail"),)]
    assert final.attempts[0].artefacts == f"/cells/{A.id}"
    assert len(final.notes) == 1
    assert queue.next_batch() == [C]


def test_retries_at_most_as_often_as_given() -> None:
    queue = RetryQueue([A], retries=2)
    assert queue.record(A, failed(A)) is None
    assert queue.record(A, failed(A, Result.ERROR)) is None
    final = queue.record(A, failed(A))
    assert final is not None
    assert [each.result for each in final.attempts] == [Result.FAIL, Result.ERROR]
    assert final.flaky, "the attempts have different results"
    assert queue.next_batch() == []


def test_the_same_failure_every_time_is_not_flaky() -> None:
    queue = RetryQueue([A], retries=1)
    queue.record(A, failed(A))
    final = queue.record(A, failed(A))
    assert final is not None
    assert not final.flaky
    assert [each.result for each in final.attempts] == [Result.FAIL]


def test_does_not_retry_what_this_machine_does_not_support() -> None:
    queue = RetryQueue([A], retries=3)
    required = replace(failed(A), blame=Blame.UNSUPPORTED)
    assert queue.record(A, required) == required
    queue = RetryQueue([B], retries=3)
    unsupported = samples.verdict(B, Result.UNSUPPORTED)
    assert queue.record(B, unsupported) == unsupported


def test_cells_of_a_guest_that_did_not_boot_share_the_next_boot() -> None:
    queue = RetryQueue([A, B], retries=1)
    for cell in (A, B):
        assert queue.record(cell, failed(cell, Result.ERROR), booted=False) is None
    assert queue.next_batch() == [A, B]


def test_the_last_attempt_counts_when_the_run_ends() -> None:
    queue = RetryQueue([A, B, C], retries=2)
    queue.record(A, failed(A))
    queue.record(B, failed(B, Result.ERROR))
    queue.record(B, failed(B))
    first, second = queue.abandon()
    assert (first.cell, first.result, first.attempts) == (A.id, Result.FAIL, ())
    assert len(first.notes) == 1
    assert (second.cell, [each.result for each in second.attempts]) == (B.id, [Result.ERROR])
    assert queue.waiting == [C], "a cell that never ran has no verdict"
