"""The comparison of two runs: new failures, repaired cells, changed results, changed guests.

Pure: values in, values out. Cells are matched by their id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from foothold_lab.harness.html_report.read import Run
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.traits import TRAITS
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters.result import GuestResult, RunResult


class ChangeKind(StrEnum):
    """The kind of a difference between two verdicts on a cell."""

    BROKEN = "new failure"
    REPAIRED = "repaired"
    PATH = "changed path"
    ANSWER = "changed answer"
    RESULT = "changed result"


@dataclass(frozen=True, kw_only=True)
class Change:
    """The earlier and the present result of a cell, each in a phrase."""

    cell: str
    kind: ChangeKind
    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A changed property of a guest: a fact of its address space, or a version of its parts."""

    guest: str
    what: str
    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All differences. `came` and `gone` are cells that only one of the runs has, `same` counts cells
    with an unchanged result.
    """

    earlier: Run
    changes: tuple[Change, ...]
    drifts: tuple[Drift, ...]
    came: tuple[str, ...]
    gone: tuple[str, ...]
    same: int

    @property
    def by_kind(self) -> dict[ChangeKind, list[Change]]:
        """The changes by kind, the most severe first."""
        kinds = {kind: [each for each in self.changes if each.kind is kind] for kind in ChangeKind}
        return {kind: changes for kind, changes in kinds.items() if changes}

    @property
    def empty(self) -> bool:
        """Are there no differences?"""
        return not (self.changes or self.drifts or self.came or self.gone)


def compare_runs(earlier: Run, now: Run) -> Comparison:
    """Compare a run with an earlier one."""
    one, other = earlier.result, now.result
    before = {cell.id: one.verdicts.get(cell.id) for cell in one.cells}
    after = {cell.id: other.verdicts.get(cell.id) for cell in other.cells}
    both = [cell for cell in after if cell in before]
    changes = tuple(change for cell in both if (change := _change(cell, before[cell], after[cell])))
    return Comparison(
        earlier=earlier,
        changes=changes,
        drifts=tuple(_drifts(one, other)),
        came=tuple(cell for cell in after if cell not in before),
        gone=tuple(cell for cell in before if cell not in after),
        same=len(both) - len(changes),
    )


def _change(cell: str, before: Verdict | None, now: Verdict | None) -> Change | None:
    kind = _kind(before, now)
    return Change(cell=cell, kind=kind, before=_phrase(before), now=_phrase(now)) if kind else None


def _kind(before: Verdict | None, now: Verdict | None) -> ChangeKind | None:
    was, is_ = (one.result if one else None for one in (before, now))
    bad = (Result.FAIL, Result.ERROR)
    if is_ in bad and was not in bad:
        return ChangeKind.BROKEN
    if was in bad and is_ is Result.PASS:
        return ChangeKind.REPAIRED
    if not before or not now or was is not is_:
        return ChangeKind.RESULT if was is not is_ else None
    old, new = before.observed, now.observed
    if not old or not new:
        return None
    if old.path is not new.path:
        return ChangeKind.PATH
    seen = [(one.outcome, one.status, one.signal, one.message) for one in (old, new)]
    return ChangeKind.ANSWER if seen[0] != seen[1] else None


def _phrase(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not reached"
    told = str(verdict.observed) if verdict.observed else verdict.reason
    return f"{verdict.result}: {told}" if told else verdict.result.value


def _drifts(before: RunResult, now: RunResult) -> Iterator[Drift]:
    for name, guest in now.guests.items():
        if name in before.guests:
            yield from _drift(name, before.guests[name], guest)


def _drift(name: str, before: GuestResult, now: GuestResult) -> Iterator[Drift]:
    if not (before.ready and now.ready):
        return
    old_facts, new_facts = before.ready.facts, now.ready.facts
    for what in TRAITS:
        old, new = _steady(what, old_facts), _steady(what, new_facts)
        if old != new:
            yield Drift(guest=name, what=what, before=old, now=new)
    made = before.ready.provenance, now.ready.provenance
    for what in sorted({*made[0], *made[1]} - _OF_ONE_BOOT):
        old, new = ("/".join(one.get(what, "").split("/")[-2:]) for one in made)
        if old != new:  # of a path, only the part that is independent of the place of the cache
            yield Drift(guest=name, what=what, before=old, now=new)


_OF_ONE_BOOT = {"container"}


def _steady(what: str, facts: Facts) -> str:
    """Return a fact without the part that the kernel chooses at random at each start."""
    told = TRAITS[what](facts)
    if not facts.aslr_bits:
        return told
    if what == "first":
        return "random"
    if what.startswith("ASLR"):
        return str(facts.aslr)  # the measured number of bits can be too low by one, see facts.py
    return "moved" if told.startswith("moved to") else told
