"""The triple agreement: observed, predicted and expected must be one and the same."""

from __future__ import annotations

from collections.abc import Sequence

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.verdict import Expectation, Observation, Result, Verdict


def judge(
    cell: Cell,
    predicted: Expectation | None,
    observed: Observation,
    *,
    seconds: float,
    notes: Sequence[str] = (),
    console: str = "",
    artefacts: str = "",
) -> Verdict:
    """Compare what was observed with what was predicted and expected, and those with each other.

    Path, outcome, status and message count. Every disagreement is one finding; so is every
    contradiction between witnesses.
    """
    expected = cell.expected
    findings = [f"the witnesses disagree: {each}" for each in observed.contradictions]
    if expected and not observed.is_as(expected):
        findings.append(f"the plan expects {expected}; observed: {observed}")
    since = f", since {predicted.reason}" if predicted and predicted.reason else ""
    if predicted and not observed.is_as(predicted):
        findings.append(f"the oracle predicts {predicted}{since}; observed: {observed}")
        since = ""  # told once
    if expected and predicted and not expected.agrees(predicted):
        findings.append(f"the plan expects {expected}; the oracle predicts {predicted}{since}")
    if not expected and not predicted and not observed.contradictions:
        findings.append(f"nothing was expected; observed: {observed}")
    return Verdict(
        cell.id,
        Result.FAIL if findings else Result.PASS,
        seconds,
        predicted,
        expected,
        observed,
        tuple(findings),
        Blame.SUBJECT if findings else None,
        notes=tuple(notes),
        console=console if findings else "",
        command=cell.command,
        artefacts=artefacts,
    )
