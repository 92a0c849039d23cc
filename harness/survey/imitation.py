"""Compares an imitated kernel (a ceiling) with the kernel that it imitates."""

from __future__ import annotations

from collections.abc import Iterator

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.survey.loader import Survey, SurveyedCell
from foothold_lab.harness.survey.prose import describe_cell, outcome_word


def compare_imitations(survey: Survey) -> Iterator[str]:
    """Yield paragraphs: for each guest under a ceiling, and each guest whose address space really
    ends there, the subjects whose results differ.
    """
    for guest, limits in dict.fromkeys((guest, limits) for guest, limits, _ in survey.cells):
        ceiling = Limits.parse(limits).ceiling
        for real, facts in survey.guests.items():
            if facts.task_size == ceiling and real != guest:
                yield from _compared(survey, guest, limits, real)


def _compared(survey: Survey, guest: str, limits: str, real: str) -> Iterator[str]:
    differ, count = [], 0
    for subject, about in survey.subjects.items():
        one = survey.cells.get((guest, limits, subject))
        other = survey.cells.get((real, "none", subject))
        if not (one and other and one.verdict.observed and other.verdict.observed):
            continue
        count += 1
        if outcome_word(one) != outcome_word(other):
            differ.append(f"* **{about.title}**: {_short(one)} In {real}: {_short(other)}")
    if count:
        same = f"{count - len(differ)} of {count} behave as in {real}"
        yield f"In {guest} under `{limits}`, {same}{'. These differ:' if differ else '.'}"
    yield from differ


def _short(seen: SurveyedCell) -> str:
    return (
        "It starts, and the kernel grants all its requests."
        if outcome_word(seen) == "starts"
        else describe_cell(seen)
    )
