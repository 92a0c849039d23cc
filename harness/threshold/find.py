"""The smallest limit under which a subject starts, found inside one boot of a guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from foothold_lab.harness.evidence.strace import last_refusal, parse_trace
from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import SubjectError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import Record
from foothold_lab.harness.model.verdict import Observation, Outcome
from foothold_lab.harness.runner.execution import deadline_for, run_trial
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.threshold.bisection import HIGH, LOW, Edge, Threshold, search

KINDS = ("rlimit_as", "rlimit_data", "rlimit_stack", "memory")


def find(
    subject: Subject,
    guest: Guest,
    facts: Facts,
    *,
    kind: str = "rlimit_as",
    low: int = LOW,
    high: int = HIGH,
    precision: int = 0,
    policy: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Threshold:
    """Find the smallest limit of this kind under which a subject starts in a guest that is booted.

    It runs untraced, for a tracer slows it down, and once more traced below the edge, for evidence.
    Raises what `Guest.run` does, but for a subject that cannot even be started.
    """

    def cell(size: int | None) -> Cell:
        limits = Limits() if size is None else Limits.parse(f"{kind}={size}")
        return Cell(guest.name, limits, policy, subject.name, "default" if policy else "")

    def starts(size: int | None) -> bool:
        _, seen = _once(cell(size), subject, guest, trace=False)
        well = seen is not None and seen.outcome in (Outcome.STARTS, Outcome.ALLOCATES)
        tell(f"{cell(size).limits}: {'starts' if well else seen or 'cannot be started'}")
        return well

    found = search(starts, low, high, precision)
    threshold = Threshold(guest.name, subject.name, policy, kind, found)
    if found.largest is None and found.edge is not Edge.NEVER:
        return threshold
    below = cell(found.largest)
    record, seen = _once(below, subject, guest, trace=not facts.tools.ptrace)
    refused = last_refusal(parse_trace(record.trace), record.pid) if record and record.trace else ""
    return replace(threshold, refused=refused, observed=str(seen or "it could not be started"))


def _once(
    cell: Cell, subject: Subject, guest: Guest, *, trace: bool
) -> tuple[Record | None, Observation | None]:
    """Run it; one that cannot be started has no record."""
    try:
        trial = run_trial(cell, subject, guest, deadline_for(cell, subject, guest), trace=trace)
    except SubjectError:
        return None, None
    return trial.record, trial.observation
