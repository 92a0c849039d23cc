"""The ledger of a cell as a table: what was asked for, what was given, what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foothold_lab.harness.evidence.crosscheck import steps_of
from foothold_lab.harness.evidence.maps import ledger_of
from foothold_lab.harness.evidence.program import reaction
from foothold_lab.harness.evidence.strace import Story
from foothold_lab.harness.html_report.address_map import about
from foothold_lab.harness.html_report.read import Evidence
from foothold_lab.harness.model.ledger import (
    FIXED,
    Account,
    Answer,
    Ledger,
    Map,
    Remap,
    Reservation,
    settle,
)

MOST_ROWS = 40


@dataclass(frozen=True)
class Row:
    """One request for addresses, in words. `then` is what the program did when it was denied."""

    asked: str
    size: str
    protection: str
    flags: str
    answer: str
    given: str
    became: str
    then: str = ""


@dataclass(frozen=True)
class Table:
    """The requests that tell of the program's way; `rest` says in words what was left out.

    `witness` is whose account it is.
    """

    witness: str
    rows: tuple[Row, ...]
    rest: str


def requests(evidence: Evidence) -> Ledger:
    """Return the best account of what was asked for: of the trace, else of the subject itself."""
    if evidence.story:
        return evidence.account.ledger
    return settle(steps_of(evidence.report)).ledger if evidence.report else ()


def table(evidence: Evidence) -> Table | None:
    """Make the table; None if no witness has anything to tell."""
    if evidence.story:
        rows = list(_traced(evidence.story, evidence.account))
        return _table("the trace", evidence.account.ledger, rows)
    if asked := requests(evidence):
        rows = [_row(each) for each in asked if _matters(each)]
        return _table("the subject's own report", asked, rows)
    if evidence.maps:
        there = ledger_of(list(evidence.maps.values())[-1])
        rows = [_row(each) for each in sorted(there, key=lambda each: -each.length)]
        return _table("the kernel's maps, which do not know what was asked", there, rows)
    return None


def _table(witness: str, ledger: Ledger, rows: list[Row]) -> Table:
    shown = tuple(rows[:MOST_ROWS])
    rest = []
    if more := len(rows) - len(shown):
        rest.append(f"{more} more like these")
    if few := len(ledger) - len(rows):
        rest.append(f"{few} small ones, of loader, libraries and interpreter")
    return Table(witness, shown, " and ".join(rest))


def _traced(story: Story, account: Account) -> Iterator[Row]:
    place, shown = -1, 0
    for at, step in enumerate(story.steps):
        if not isinstance(step, Map | Remap):
            continue
        place += 1  # each of these two has one entry in the ledger, in order
        one = account.ledger[place]
        if not _matters(one):
            continue
        shown += 1
        denied = one.tells and not one.within and one.answer in (Answer.MOVED, Answer.REFUSED)
        asks = shown <= MOST_ROWS and denied and isinstance(step, Map)
        yield _row(one, reaction(story, at, one) if asks else "")


def _matters(one: Reservation) -> bool:
    """Is it large, hinted, or memory of the kind that runtimes of 2012 and compilers ask for?"""
    return one.tells or (one.anonymous and one.protection == "rwx")


def _row(one: Reservation, then: str = "") -> Row:
    where = "anywhere" if not one.asked else f"{one.asked:#x}"
    if one.asked is None:
        where = "unknown"
    elif one.asked and one.flags & FIXED:
        where = f"exactly {where}"
    usual = frozenset({"PRIVATE", "ANONYMOUS"})
    return Row(
        where,
        about(one.length),
        one.protection,
        " ".join(sorted(one.flags - usual)),
        f"{one.answer}, {one.errno}" if one.errno else one.answer.value,
        "" if one.given is None else f"{one.given:#x}",
        ", ".join(one.became),
        then,
    )
