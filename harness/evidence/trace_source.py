"""The witnesses of a program beside its own report: the tracer or emulator, and the kernel's maps."""

from __future__ import annotations

from dataclasses import dataclass

from foothold_lab.harness.evidence import emulator, strace
from foothold_lab.harness.evidence.maps import MappedRange, parse_maps
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.model.deadline import Check, unchecked
from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.model.record import Record


@dataclass(frozen=True, kw_only=True)
class CheckedTrace:
    """A program's trace. `doubts` are findings against it, `complaints` what the tracer itself
    printed. If it is not `complete`, some calls are missing or have the answer of another call, so
    it proves nothing against another witness.
    """

    subject: SubjectTrace
    doubts: tuple[Finding, ...]
    complaints: tuple[str, ...] = ()
    complete: bool = True


class Witnesses:
    """Reads the trace and the maps of one record. All of it raises what `check` raises."""

    def __init__(self, record: Record, check: Check = unchecked) -> None:
        self._record = record
        self._check = check
        log = record.emulator
        self._log = None if log is None else emulator.read_log(log, check)

    def trace(self) -> CheckedTrace | None:
        """Return the trace; None if the program was not traced."""
        record = self._record
        if record.trace is None:
            return None
        if self._log:
            subject = emulator.follow_subject(self._log, record.pid)
            doubts = emulator.doubts(subject, record.ending)
            return CheckedTrace(subject=subject, doubts=tuple(doubts), complete=not subject.threads)
        trace = strace.parse_trace(record.trace, self._check)
        subject = strace.follow_subject(trace, record.pid, self._check, record.page_size)
        doubts = strace.doubts(trace, subject, record.ending)
        return CheckedTrace(subject=subject, doubts=tuple(doubts), complaints=trace.complaints)

    def maps(self, checkpoint: str) -> tuple[MappedRange, ...]:
        """Return what was mapped at a checkpoint that has maps. Raises MapsError."""
        if self._log:
            return emulator.maps_at(self._record, self._log, checkpoint)
        return parse_maps(self._record.maps[checkpoint])
