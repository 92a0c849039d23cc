"""One subject, once, in a booted guest: started, watched, and what the witnesses make of it.

A tracer slows a program down, some thousandfold where it maps without end, and some programs do not
run under one at all. So one that our patience has ended while it was traced is run again without:
the trace tells its way, and the second run how it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness import evidence, subjects
from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.record import Record
from foothold_lab.harness.model.verdict import Observation
from foothold_lab.harness.subjects.subject import Subject

CELL_SECONDS = 30.0  # of a guest of native speed; a cell takes about 0.1 s there (measured)


@dataclass(frozen=True)
class Trial:
    """What was seen: the record; that of a second run without a tracer, if there was one."""

    record: Record
    untraced: Record | None
    observation: Observation


def deadline_for(cell: Cell, subject: Subject, guest: Guest) -> Deadline:
    """Return by when a trial has to be over, whatever the subject does."""
    timeout = 0.0 if subject.reports else subject.timeout
    return Deadline.after(max(cell.deadline or CELL_SECONDS, 3 * timeout) * guest.scale)


def run_trial(
    cell: Cell,
    subject: Subject,
    guest: Guest,
    deadline: Deadline,
    *,
    trace: bool,
    pointers: int = 8,
) -> Trial:
    """Run a cell's subject and hear the witnesses. Raises what `Guest.run` does.

    `pointers` is the size of one there, in bytes.
    """
    argv = subjects.command(cell, guest, subject, trace=trace)
    how = subjects.supervision(subject, guest, trace=trace)
    record = guest.run(argv, cell.limits, deadline, how=how)
    if subject.reports:
        return Trial(record, None, evidence.observe(record, cell, pointers))
    untraced = None
    if trace and record.running and not record.said:
        untraced = guest.run(argv, cell.limits, deadline, how=replace(how, trace=False))
    seen = evidence.observe_program(
        record, untraced, ready_pattern=subject.ready_pattern, ends=subject.ends
    )
    return Trial(record, untraced, seen)


def keep(trial: Trial, directory: Path, *, reports: bool) -> None:
    """Write what was seen of a subject into its cell's directory: output and ending of the run that
    counts, maps and trace of the one that was traced.
    """
    counts, traced = trial.untraced or trial.record, trial.record
    whole = replace(counts, trace=traced.trace, emulator=traced.emulator, maps=traced.maps)
    whole.write(directory, "stdout.jsonl" if reports else "stdout")
