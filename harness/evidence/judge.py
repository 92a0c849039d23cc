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


def judge_panic(
    cell: Cell, error: GuestError, *, seconds: float, notes: Sequence[str] = ()
) -> Verdict:
    """Judge a cell whose guest died, and was expected to.

    It passes if the guest died of its kernel and the pattern matches in the message or on the
    console.
    """
    expected = cell.expected
    assert expected
    text = f"{error}\n{error.console}"
    died = error.code in (Code.GUEST_PANIC, Code.GUEST_DIED)
    passed = died and matches(expected.pattern, text, per_line=True)
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
