"""The triple agreement: observed, predicted and expected must be one and the same."""

from __future__ import annotations

from collections.abc import Sequence

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, GuestError
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.patterns import matches
from foothold_lab.harness.model.verdict import Expectation, Observation, Result, Verdict


def judge(
    cell: Cell,
    predicted: Expectation | None,
    observed: Observation,
    *,
    seconds: float,
    notes: Sequence[str] = (),
    console: str = "",
) -> Verdict:
    """Compare what was observed with what was predicted and expected, and those with each other.

    Path, outcome, status and message count. Every disagreement is one finding; so is every
    contradiction between witnesses.
    """
    expected = cell.expected
    findings = list(observed.contradictions)
    if expected and not observed.is_as(expected):
        findings.append(_unexpected(expected, observed))
    since = f", because {predicted.reason}" if predicted and predicted.reason else ""
    if predicted and not observed.is_as(predicted):
        same_path = predicted.path in (None, observed.path)
        code = Code.ORACLE_OUTCOME if same_path else Code.ORACLE_PATH
        text = f"The oracle predicts `{predicted}`{since}; {_seen(observed)}."
        findings.append(Finding(code, text))
        since = ""  # one finding gives the reason
    if expected and predicted and not expected.agrees(predicted):
        text = f"The plan expects `{expected}`; the oracle predicts `{predicted}`{since}."
        findings.append(Finding(Code.PLAN_PREDICTION, text))
    if not expected and not predicted and not observed.contradictions:
        text = f"Neither the plan nor the oracle expects anything; {_seen(observed)}."
        findings.append(Finding(Code.PLAN_NOTHING_EXPECTED, text))
    return Verdict(
        cell=cell.id,
        result=Result.FAIL if findings else Result.PASS,
        seconds=seconds,
        predicted=predicted,
        expected=expected,
        observed=observed,
        findings=tuple(findings),
        blame=Blame.SUBJECT if findings else None,
        notes=tuple(notes),
        console=console if findings else "",
        command=cell.command,
    )


PANIC_BY_ROOT = "the subject was root of its guest, and can start a panic by itself"
TEXT_BY_ROOT = "the subject was root of its guest, and can have written the text that matched"
AS_USER = "run it as another user to exclude that (--user)"


def judge_panic(
    cell: Cell, error: GuestError, *, is_root: bool, seconds: float, notes: Sequence[str] = ()
) -> Verdict:
    """Judge a cell whose guest died, and was expected to.

    It passes if the guest died of its kernel and the pattern matches in the message or on the
    console. `is_root`: the subject was root of its guest; a note says what it can have written then.
    """
    expected = cell.expected
    assert expected
    died = error.code in (Code.GUEST_PANIC, Code.GUEST_DIED)
    text = f"{error}\n{error.console}"
    of_panic = bool(error.panic) and matches(expected.pattern, error.panic, per_line=True)
    passed = died and (of_panic or matches(expected.pattern, text, per_line=True))
    if passed and is_root:
        notes = (*notes, f"{PANIC_BY_ROOT if of_panic else TEXT_BY_ROOT}: {AS_USER}")
    finding = Finding(error.code, f"The plan expects `{expected}`; {error}.")
    return Verdict(
        cell=cell.id,
        result=Result.PASS if passed else Result.FAIL,
        seconds=seconds,
        expected=expected,
        findings=() if passed else (finding,),
        blame=None if passed else Blame.GUEST,
        notes=(*notes, f"the guest died: {error}"),
        console=error.console,
        command=cell.command,
    )


def _unexpected(expected: Expectation, observed: Observation) -> Finding:
    text = f"The plan expects `{expected}`; {_seen(observed)}"
    if not (expected.stdout_file or expected.same_output_as):
        return Finding(Code.PLAN_EXPECTATION, f"{text}.")
    code = Code.PLAN_SAME_OUTPUT if expected.same_output_as else Code.PLAN_STDOUT
    difference = observed.output_difference
    if difference:
        return Finding(code, f"{text}. Its standard output differs in {difference}.")
    return Finding(code, f"{text}. Its standard output is the same.")


def _seen(observed: Observation) -> str:
    return f"`{observed}` was observed"
