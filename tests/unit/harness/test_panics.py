"""The expectation `panics:REGEX`, and what a subject that is root of its guest can have written."""

from __future__ import annotations

import pytest

from foothold_lab.harness.evidence.judge import AS_USER, PANIC_BY_ROOT, TEXT_BY_ROOT, judge_panic
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Expectation, Result

PANIC = "Kernel panic - not syncing: Fatal exception\nCPU: 0 PID: 7"
CONSOLE = f"BUG: NULL pointer\n{PANIC}"


def judged(pattern: str, error: GuestError, *, is_root: bool) -> tuple[Result, list[str]]:
    cell = Cell(
        guest="g", limits=Limits(), policy="", expected=Expectation.parse(f"panics:{pattern}")
    )
    verdict = judge_panic(cell, error, is_root=is_root, seconds=1)
    return verdict.result, [each.removesuffix(f": {AS_USER}") for each in verdict.notes[:-1]]


@pytest.mark.parametrize(
    ("pattern", "result", "note"),
    [
        ("Fatal exception$", Result.PASS, PANIC_BY_ROOT),
        ("PID: 7", Result.PASS, PANIC_BY_ROOT),
        ("NULL pointer", Result.PASS, TEXT_BY_ROOT),
        ("out of memory", Result.FAIL, None),
    ],
)
@pytest.mark.parametrize("is_root", [True, False])
def test_says_what_root_can_have_written(
    pattern: str, result: Result, note: str | None, *, is_root: bool
) -> None:
    error = GuestError(
        "kernel panic: Fatal exception", code=Code.GUEST_PANIC, console=CONSOLE, panic=PANIC
    )
    notes = [note] if note and is_root else []
    assert judged(pattern, error, is_root=is_root) == (result, notes)


def test_a_message_of_an_unknown_origin_can_be_written_by_root() -> None:
    error = GuestError("kernel bug: NULL pointer", code=Code.GUEST_PANIC, console=CONSOLE)
    assert judged("NULL pointer", error, is_root=True) == (Result.PASS, [TEXT_BY_ROOT])


def test_a_forged_panic_does_not_pass() -> None:
    error = GuestError("kernel panic: forged", code=Code.GUEST_PANIC_FORGED, console=CONSOLE)
    assert judged("", error, is_root=True) == (Result.FAIL, [])
