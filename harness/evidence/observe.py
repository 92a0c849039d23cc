"""Observes the allocator: joins its report, the maps, the trace and its end.

Where two of these witnesses disagree, a finding names and quotes both.
"""

from __future__ import annotations

from foothold_lab.harness.evidence.allocator_report import (
    Broken,
    End,
    Exit,
    Killed,
    Report,
    Reserved,
    Start,
    Throw,
    Workload,
    read_report,
)
from foothold_lab.harness.evidence.arena_detection import ARENA, HINTS, DetectedPath, detect_path
from foothold_lab.harness.evidence.collector import paused_collector
from foothold_lab.harness.evidence.crosscheck import compare_with_maps, match_report
from foothold_lab.harness.evidence.maps import MappedRange, MapsError, is_usable
from foothold_lab.harness.evidence.program import MOST_OUTPUT
from foothold_lab.harness.evidence.task_size import beyond_task_size
from foothold_lab.harness.evidence.trace_source import Witnesses
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Check, unchecked
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.ledger import FIXED, AddressSpace, replay
from foothold_lab.harness.model.record import Record
from foothold_lab.harness.model.signals import signal_name
from foothold_lab.harness.model.verdict import Observation, Outcome, ReservationPath

LONGEST_MESSAGE = 500  # characters
MOST_SHOWN = 3  # reservations in a line of evidence
CHECKPOINTS = ("reserved", "end")


def observe(
    record: Record,
    cell: Cell | None = None,
    pointers: int = 8,
    check: Check = unchecked,
    *,
    task_size: int = 0,
) -> Observation:
    """Join the report of the subject, the maps of the kernel, the trace, and how it ended.

    With `cell`, the report must also be about what the cell runs; without, the policy is one of
    2012. `pointers` is the size of a pointer in the guest, in bytes, and `task_size` that of
    its address space (0: not known). What makes no sense is a
    finding; only what `check` raises is raised.
    """
    with paused_collector():
        return _Observer(record, cell, pointers, check, task_size).observation()


class _Observer:
    """Collects evidence and findings from the witnesses of one record."""

    def __init__(
        self, record: Record, cell: Cell | None, pointers: int, check: Check, task_size: int
    ) -> None:
        self._record = record
        self._task_size = task_size
        self._check = check
        self._cell = cell
        self._policy = cell.policy if cell else "after"
        self._pointers = pointers
        self._witnesses = Witnesses(record, check)
        self._report = read_report(record.stdout)
        self._message = _last_line(record.stderr)
        self._maps: dict[str, tuple[MappedRange, ...]] = {}
        self._trace_evidence: dict[str, str] = {}
        self._findings: list[Finding] = list(self._report.problems)

    def observation(self) -> Observation:
        """Compare all witnesses, then say what happened."""
        for what in self._record.cut:
            self._add(Code.OUTPUT_TRUNCATED, f"There was more of {what} than is kept.")
        self._read_maps()
        claims = {name: said.arena_used for name, said in self._report.claims.items()}
        self._findings += beyond_task_size(self._task_size, maps=self._maps, claims=claims)
        detected = {
            checkpoint: detect_path(maps, self._policy, self._pointers)
            for checkpoint, maps in self._maps.items()
        }
        self._compare_start()
        self._compare_checkpoints()
        self._compare_paths(detected)
        self._compare_heap()
        self._compare_ending()
        self._compare_trace()
        path, outcome = self._path(detected), self._outcome()
        ending = self._record.ending
        return Observation(
            path=path,
            outcome=outcome,
            status=ending.status,
            signal=ending.signal,
            message=self._message if outcome is not Outcome.ALLOCATES else "",
            evidence=self._evidence(detected),
            contradictions=tuple(self._findings),
            last_output=self._record.stderr[-MOST_OUTPUT:]
            .decode(errors="backslashreplace")
            .strip(),
        )

    def _read_maps(self) -> None:
        for checkpoint in CHECKPOINTS:
            if checkpoint in self._record.maps:
                try:
                    self._maps[checkpoint] = self._witnesses.maps(checkpoint)
                except MapsError as error:
                    text = f"The maps at `{checkpoint}` cannot be read: {error}."
                    self._add(Code.MAPS_UNREADABLE, text)

    def _compare_start(self) -> None:
        start = self._report.one(Start)
        if start is None:
            return
        told: list[tuple[str, object, object]] = [
            ("pid", start.pid, self._record.pid),
            ("kernel", start.kernel, "real"),
            ("pointer_size", start.pointer_size, self._pointers),
            ("page_size", start.page_size, self._record.page_size),
        ]
        if self._cell:
            told.append(("policy", start.policy, self._cell.policy))
            told.append(("workload", start.workload, self._cell.workload))
        for what, said, true in told:
            if said != true:
                self._add(Code.REPORT_VS_CELL, f"The report says {what} {said}; it is {true}.")

    def _compare_checkpoints(self) -> None:
        for checkpoint in self._report.checkpoints:
            if checkpoint not in self._record.maps:
                text = f"The report stops at `{checkpoint}`; there are no maps of that checkpoint."
                self._add(Code.REPORT_VS_CHECKPOINTS, text)
        for checkpoint in self._record.maps:
            if checkpoint not in self._report.checkpoints:
                text = f"There are maps of the checkpoint `{checkpoint}`; the report does not stop there."
                self._add(Code.REPORT_VS_CHECKPOINTS, text)
        for checkpoint in self._report.claims:
            if checkpoint not in self._report.checkpoints:
                text = f"The report says `{checkpoint}` without a checkpoint: no maps confirm it."
                self._add(Code.REPORT_VS_CHECKPOINTS, text)

    def _compare_paths(self, detected: dict[str, DetectedPath]) -> None:
        for checkpoint, said in self._report.claims.items():
            seen = detected.get(checkpoint)
            if seen is None:
                continue
            if said.path is not seen.path:
                text = (
                    f"The report says `{said.path}`; the maps at `{checkpoint}` show "
                    f"`{seen.path or 'no path'}`: {seen.evidence}."
                )
                self._add(Code.REPORT_VS_MAPS, text)
            elif seen.path is not ReservationPath.HIGH and isinstance(said, Reserved):
                if said.base != seen.base:
                    text = f"The report says reserved at {said.base:#x}; the maps show {seen.evidence}."
                    self._add(Code.REPORT_VS_MAPS, text)
            elif seen.path is ReservationPath.HIGH and said.arena_start != seen.base:
                text = (
                    f"The report says that the arena starts at {said.arena_start:#x}; the maps "
                    f"show {seen.evidence}."
                )
                self._add(Code.REPORT_VS_MAPS, text)

    def _compare_heap(self) -> None:
        """Check that the heap that the report claims is readable and writable."""
        for checkpoint, said in self._report.claims.items():
            maps = self._maps.get(checkpoint)
            if maps is None or said.path is ReservationPath.LOW_GROWN:
                continue  # low-grown: between two blocks there are gaps
            if said.arena_start >= said.arena_used:
                self._add(Code.REPORT_VS_MAPS, f"The report claims no heap at `{checkpoint}`.")
            elif not all(is_usable(maps, *piece) for piece in self._pieces(said)):
                text = (
                    f"The report claims a heap at {said.arena_start:#x}-{said.arena_used:#x}; the "
                    f"maps at `{checkpoint}` do not show all of it readable and writable."
                )
                self._add(Code.REPORT_VS_MAPS, text)

    def _pieces(self, said: Reserved | End) -> list[tuple[int, int]]:
        """Return the ranges that must be heap. Between the first and the last of many arenas there
        may be gaps.
        """
        start, end = said.arena_start, said.arena_used
        if self._policy not in HINTS:
            return [(start, end)]
        return [(start, min(end, start + ARENA)), (max(start, (end - 1) // ARENA * ARENA), end)]

    def _compare_ending(self) -> None:
        ending, report = self._record.ending, self._report
        how = signal_name(ending.signal) if ending.signal else f"status {ending.status}"
        death = report.one(Throw) or report.one(Exit)
        if death and (ending.signal or death.status != ending.status):
            text = f"The report says status {death.status}; the subject ended with {how}."
            self._add(Code.REPORT_VS_ENDING, text)
        killed = report.one(Killed)
        if killed and killed.signal != ending.signal:
            text = f"The report says signal {killed.signal}; the subject ended with {how}."
            self._add(Code.REPORT_VS_ENDING, text)
        if isinstance(death, Throw) and self._message != f"throw: {death.message}":
            text = (
                f"The report says `throw: {death.message}`; the last line on stderr is "
                f"`{self._message}`."
            )
            self._add(Code.REPORT_VS_ENDING, text)
        if report.one(End) and (ending.signal or ending.status):
            text = f"The report says that the subject ended well; it ended with {how}."
            self._add(Code.REPORT_VS_ENDING, text)
        if broken := report.one(Broken):
            text = f"Memory did not hold what was written to it: {broken.message}."
            self._add(Code.SUBJECT_MEMORY, text)
        if not death and not report.one(End) and not ending.signal and ending.status == 0:
            text = "The subject ended with status 0; its report has no end."
            self._add(Code.REPORT_VS_ENDING, text)

    def _compare_trace(self) -> None:
        """Compare the report and the maps with the trace, if there is one."""
        trace = self._witnesses.trace()
        if trace is None:
            return
        steps, page_size = trace.subject.steps, trace.subject.page_size
        self._findings += beyond_task_size(self._task_size, steps)
        self._trace_evidence["trace"] = _traced(replay(steps, self._check, page_size))
        if trace.complaints:
            self._trace_evidence["strace itself"] = "; ".join(trace.complaints)
        self._findings += trace.doubts
        matched = match_report(self._report, steps)
        self._findings += matched.findings
        for checkpoint, count in matched.checkpoints.items():
            if checkpoint in self._maps and f"maps-{checkpoint}" not in self._record.cut:
                space = replay(steps[:count], self._check, page_size)
                self._findings += compare_with_maps(space, self._maps[checkpoint], checkpoint)

    def _add(self, code: Code, text: str) -> None:
        self._findings.append(Finding(code, text))

    def _path(self, detected: dict[str, DetectedPath]) -> ReservationPath | None:
        """Return the path of the last maps; refused if it died before there were any."""
        for checkpoint in reversed(CHECKPOINTS):
            if checkpoint in detected:
                return detected[checkpoint].path
        report = self._report
        refused = (
            report.path is ReservationPath.REFUSED
            and not report.checkpoints
            and not self._record.maps
        )
        return ReservationPath.REFUSED if refused else None

    def _outcome(self) -> Outcome | None:
        ending, report = self._record.ending, self._report
        if ending.signal or ending.status:
            return Outcome.DIES
        proven = report.one(Workload) and report.one(End) and "end" in self._maps
        return Outcome.ALLOCATES if proven and not self._findings else None

    def _evidence(self, detected: dict[str, DetectedPath]) -> dict[str, str]:
        evidence = {"report": _described(self._report)}
        for checkpoint in CHECKPOINTS:
            if checkpoint in detected:
                seen = detected[checkpoint]
                evidence[f"maps at {checkpoint}"] = f"{seen.path or 'unclear'}: {seen.evidence}"
        if not detected:
            evidence["maps"] = "none were read: the subject reached no checkpoint"
        evidence.update(self._trace_evidence)
        ending = self._record.ending
        how = signal_name(ending.signal) if ending.signal else f"status {ending.status}"
        evidence["ending"] = f"{how}; stderr ends: {self._message}" if self._message else how
        return evidence


def _described(report: Report) -> str:
    """Describe the report in one line."""
    if end := report.one(End):
        heap = f"heap {end.arena_start:#x}-{end.arena_used:#x}"
        work = report.one(Workload)
        done = f", {work.small} small and {work.large} large blocks" if work else ""
        return f"{end.path}: {heap}{done}"
    if broken := report.one(Broken):
        return f"broken: {broken.message}"
    if death := report.one(Throw) or report.one(Exit):
        return f"{report.path}: died, status {death.status}: {death.message}"
    if killed := report.one(Killed):
        return f"{report.path}: killed by signal {killed.signal}"
    return f"{report.path or 'nothing'}, and no end"


def _traced(space: AddressSpace) -> str:
    """Describe the notable reservations in one line."""
    notable = [str(each) for each in space.ledger if each.notable and not each.flags & FIXED]
    if (more := len(notable) - MOST_SHOWN) > 0:  # the last one is what the program got
        notable[MOST_SHOWN - 1 : -1] = [f"{more} more"]
    return "; ".join(notable) or "nothing large or hinted"


def _last_line(stderr: bytes) -> str:
    """Return the last line that is not blank, bounded."""
    lines = stderr[-(8 << 10) :].decode(errors="backslashreplace").strip().splitlines()
    return lines[-1].strip()[:LONGEST_MESSAGE] if lines else ""
