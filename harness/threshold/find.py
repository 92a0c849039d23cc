"""The smallest limit under which a subject starts, found inside one boot of a guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from foothold_lab.harness.evidence.strace import last_refusal, parse_trace
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import SubjectError
from foothold_lab.harness.model.verdict import Outcome
from foothold_lab.harness.runner.booted_guest import BootedGuest
from foothold_lab.harness.runner.execution import Conditions, Execution, deadline_for, execute
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.threshold.bisection import (
    HIGH,
    LOW,
    Edge,
    Search,
    Threshold,
    search,
    sweep,
)

KINDS = ("rlimit_as", "rlimit_data", "rlimit_stack", "memory")


@dataclass(frozen=True, kw_only=True)
class ThresholdQuery:
    """The limit to search for, between `low` and `high`, to `precision`, all in bytes.

    A precision of 0 is a part of the threshold itself (`bisection.FINENESS`). `policy` is the
    allocator's; empty for every other subject. With `per_doubling`, a sweep over so many sizes
    between one and its double; 0: a search for one edge.
    """

    kind: str = "rlimit_as"
    low: int = LOW
    high: int = HIGH
    precision: int = 0
    policy: str = ""
    per_doubling: int = 0


def find_threshold(
    subject: Subject, booted: BootedGuest, query: ThresholdQuery, report: Callable[[str], None]
) -> Threshold:
    """Find the smallest limit under which a subject starts in a booted guest.

    The subject runs without a tracer, which would slow it down, and once more with a tracer below
    the threshold, for evidence. Each step is described to `report`. Raises what `run_program` raises,
    except for a subject that cannot be started.
    """

    def cell(size: int | None) -> Cell:
        limits = Limits() if size is None else Limits.parse(f"{query.kind}={size}")
        workload = "default" if query.policy else ""
        return Cell(
            guest=booted.name,
            limits=limits,
            policy=query.policy,
            subject=subject.name,
            workload=workload,
        )

    def starts(size: int | None) -> bool:
        execution = _execute(cell(size), subject, booted, trace=False)
        observed = execution and execution.observe(cell(size), subject)
        well = bool(observed and observed.outcome in (Outcome.STARTS, Outcome.ALLOCATES))
        report(f"{cell(size).limits}: {'starts' if well else observed or 'cannot be started'}")
        return well

    found = _search(starts, query, booted.facts.page_size)
    threshold = Threshold(
        guest=booted.name, subject=subject.name, policy=query.policy, kind=query.kind, search=found
    )
    if found.largest is None and found.edge is not Edge.NEVER:
        return threshold
    traceable = not booted.facts.tools.ptrace
    execution = _execute(cell(found.largest), subject, booted, trace=traceable)
    if execution is None:
        return replace(threshold, observed="it could not be started")
    record = execution.record
    refused = last_refusal(parse_trace(record.trace), record.pid) if record.trace else ""
    observed = execution.observe(cell(found.largest), subject)
    return replace(threshold, refused=refused, observed=str(observed))


def _search(starts: Callable[[int | None], bool], query: ThresholdQuery, page_size: int) -> Search:
    """Search to the precision of the query, which is at least a page: the kernel counts in pages."""
    precision = max(query.precision, page_size) if query.precision else 0
    if not query.per_doubling:
        return search(starts, query.low, query.high, precision)
    return sweep(
        starts,
        query.low,
        query.high,
        precision=precision,
        per_doubling=query.per_doubling,
    )


def _execute(cell: Cell, subject: Subject, booted: BootedGuest, *, trace: bool) -> Execution | None:
    """Run a cell; None if its subject cannot be started."""
    guest = booted.guest
    try:
        deadline = deadline_for(cell, subject, guest)
        return execute(cell, subject, guest, deadline, Conditions(trace=trace))
    except SubjectError:
        return None
