"""One subject, started once in a booted guest and watched: what the witnesses recorded.

A tracer slows a program down, up to a thousand times if it maps memory without end, and some
programs do not run under a tracer at all. A traced program that reaches its timeout is therefore
run again without a tracer, unless it only has to start and waits: the trace of the first run shows
the path, the second run the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness import evidence, subjects
from foothold_lab.harness.guests.base import Guest, run_program
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Check, Deadline, unchecked
from foothold_lab.harness.model.record import GuestStateMoments, Record
from foothold_lab.harness.model.verdict import Observation
from foothold_lab.harness.subjects.subject import Subject

CELL_SECONDS = 30.0  # of a guest of native speed; a cell takes about 0.1 s there (measured)


@dataclass(frozen=True)
class Execution:
    """What was recorded: `untraced` is the second run, without a tracer, if there was one."""

    record: Record
    untraced: Record | None = None

    @property
    def records(self) -> tuple[Record, ...]:
        """The records, in the order of the runs."""
        return (self.record, self.untraced) if self.untraced else (self.record,)

    @property
    def last(self) -> Record:
        """The record of the last run, which decides how the program ended."""
        return self.untraced or self.record

    def observe(
        self,
        cell: Cell,
        subject: Subject,
        *,
        pointers: int = 8,
        task_size: int = 0,
        check: Check = unchecked,
    ) -> Observation:
        """Read the witnesses. Raises only what `check` raises, which is called from time to time.

        `pointers` is the size of a pointer in the guest, in bytes, `task_size` that of its address
        space (0: not known).
        """
        if subject.reports:
            return evidence.observe(self.record, cell, pointers, check, task_size=task_size)
        observed = evidence.observe_program(
            self.record,
            self.untraced,
            ready_pattern=subject.ready_pattern,
            must_be_ready=subject.ready_condition or subject.ends,
            task_size=task_size,
            check=check,
        )
        if cell.expected is None or cell.expected.stdout is None:
            return observed
        cut = "stdout" in self.last.cut
        difference = evidence.output_difference(cell.expected, self.last.stdout, cut=cut)
        return replace(observed, output_difference=difference)

    def write(self, directory: Path, *, reports: bool) -> None:
        """Write the evidence into the directory of the cell.

        Output and ending are those of the last run, maps and trace those of the traced run.
        """
        traced = self.record
        whole = replace(self.last, trace=traced.trace, emulator=traced.emulator, maps=traced.maps)
        whole.write(directory, "stdout.jsonl" if reports else "stdout")


def deadline_for(cell: Cell, subject: Subject, guest: Guest) -> Deadline:
    """Return the deadline of an execution: that of the plan.

    Else CELL_SECONDS, or three times the timeout of a program, which may run twice until then.
    """
    timeout = 0.0 if subject.reports else subject.timeout
    seconds = cell.deadline or max(CELL_SECONDS, 3 * timeout)
    return Deadline.after(seconds * guest.scale)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a cell is executed: with a trace or not, when the agent reads the state of the guest, and
    under which seccomp filter.
    """

    trace: bool
    guest_state: GuestStateMoments = ""
    seccomp: bytes = b""


def execute(
    cell: Cell, subject: Subject, guest: Guest, deadline: Deadline, conditions: Conditions
) -> Execution:
    """Run the subject of a cell. Raises what `run_program` raises."""
    trace, guest_state = conditions.trace, conditions.guest_state
    argv = subjects.command(subject, cell, guest.paths, trace=trace)
    how = subjects.supervision(subject, guest.paths, guest.scale, trace=trace)
    how = replace(how, guest_state=guest_state, seccomp=conditions.seccomp)
    record = run_program(guest, argv, cell.limits, deadline, how=how)
    waits = bool(record.stop and record.stop.activity == "waits" and how.ready_idle)
    if subject.reports or not trace or not record.stopped or record.ready or waits:
        return Execution(record)
    how = replace(how, trace=False, guest_state="after" if guest_state else "")
    return Execution(record, run_program(guest, argv, cell.limits, deadline, how=how))
