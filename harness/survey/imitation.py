"""A ceiling instead of a kernel: where it and the kernel that it imitates disagree."""

from __future__ import annotations

from collections.abc import Iterator

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.survey.loader import Seen, Survey
from foothold_lab.harness.survey.prose import tell, word_of


def imitations(survey: Survey) -> Iterator[str]:
    """Yield paragraphs: for each guest under a ceiling, and each whose address space really ends
    there, which subjects do not do the same, and what they do.
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
        if word_of(one) != word_of(other):
            differ.append(f"* **{about.title}**: {_short(one)} In {real}: {_short(other)}")
    if count:
        same = f"{count - len(differ)} of {count} do as in {real}"
        yield f"In {guest} under `{limits}`, {same}{'; these do not:' if differ else '.'}"
    yield from differ


def _short(seen: Seen) -> str:
    return "It starts, with all that it asks for." if word_of(seen) == "starts" else tell(seen)
