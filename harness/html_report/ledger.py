"""The requests of a subject for addresses as a table: request, answer, and what happened later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foothold_lab.harness.evidence.crosscheck import steps_of
from foothold_lab.harness.evidence.maps import ledger_of
from foothold_lab.harness.evidence.requests import Reactions
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.html_report.address_map import rounded_size
from foothold_lab.harness.html_report.read import Evidence
from foothold_lab.harness.model.ledger import (
    FIXED,
    AddressSpace,
    Answer,
    Ledger,
    Map,
    Remap,
    Reservation,
    replay,
)

MAX_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One request for addresses in words. `reaction` is what the program did after a refusal or move."""

    asked: str
    size: str
    protection: str
    flags: str
    answer: str
    given: str
    fate: str
    reaction: str = ""


@dataclass(frozen=True)
class LedgerTable:
    """The requests that show how the program got its memory. `source` is the witness, `omitted` describes
    the requests that are not shown.
    """

    source: str
    rows: tuple[LedgerRow, ...]
    omitted: str


def requests(evidence: Evidence) -> Ledger:
    """Return the best ledger of what was asked for: of the trace, else of the subject itself."""
    if evidence.subject_trace:
        return evidence.address_space.ledger
    if evidence.report is None:
        return ()
    return replay(steps_of(evidence.report), page_size=evidence.page_size).ledger


def table(evidence: Evidence) -> LedgerTable | None:
    """Return the table, or None if no witness recorded a request."""
    if evidence.subject_trace:
        rows = list(_traced(evidence.subject_trace, evidence.address_space))
        return _table("the trace", evidence.address_space.ledger, rows)
    if asked := requests(evidence):
        rows = [_row(each) for each in asked if _matters(each)]
        return _table("the report of the subject", asked, rows)
    if evidence.maps:
        there = ledger_of(list(evidence.maps.values())[-1])
        rows = [_row(each) for each in sorted(there, key=lambda each: -each.length)]
        return _table("the maps of the kernel, which do not show requests", there, rows)
    return None


def _table(witness: str, ledger: Ledger, rows: list[LedgerRow]) -> LedgerTable:
    shown = tuple(rows[:MAX_ROWS])
    rest = []
    if more := len(rows) - len(shown):
        rest.append(f"{more} similar requests")
    if few := len(ledger) - len(rows):
        rest.append(f"{few} small requests of loader, libraries and interpreter")
    return LedgerTable(witness, shown, " and ".join(rest))


def _traced(subject_trace: SubjectTrace, address_space: AddressSpace) -> Iterator[LedgerRow]:
    reactions = Reactions(subject_trace)
    place, shown = -1, 0
    for at, step in enumerate(subject_trace.steps):
        if not isinstance(step, Map | Remap):
            continue
        place += 1  # each of these two has one entry in the ledger, in order
        one = address_space.ledger[place]
        if not _matters(one):
            continue
        shown += 1
        denied = one.notable and not one.nested and one.answer in (Answer.MOVED, Answer.REFUSED)
        asks = shown <= MAX_ROWS and denied and isinstance(step, Map)
        yield _row(one, reactions.describe(at, one) if asks else "")


def _matters(one: Reservation) -> bool:
    """Is the request large, has it a hint, or is it executable (runtimes of 2012, compilers)?"""
    return one.notable or (one.anonymous and one.protection == "rwx")


def _row(one: Reservation, then: str = "") -> LedgerRow:
    where = "anywhere" if not one.requested else f"{one.requested:#x}"
    if one.requested is None:
        where = "unknown"
    elif one.requested and one.flags & FIXED:
        where = f"exactly {where}"
    usual = frozenset({"PRIVATE", "ANONYMOUS"})
    return LedgerRow(
        asked=where,
        size=rounded_size(one.length),
        protection=one.protection,
        flags=" ".join(sorted(one.flags - usual)),
        answer=f"{one.answer}, {one.errno}" if one.errno else one.answer.value,
        given="" if one.granted is None else f"{one.granted:#x}",
        fate=", ".join(one.states),
        reaction=then,
    )
