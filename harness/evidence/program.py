"""Observes a program without a report: from its trace, its maps and its end.

Each anonymous reservation that is large or requests an address is of interest: how the kernel
answered, and what the program did next.
"""

from __future__ import annotations

import heapq

from foothold_lab.harness.evidence.collector import paused_collector
from foothold_lab.harness.evidence.crosscheck import compare_with_late_maps
from foothold_lab.harness.evidence.decisive import decide, decide_from_maps
from foothold_lab.harness.evidence.last_words import choose_message
from foothold_lab.harness.evidence.maps import MappedRange, MapsError, ledger_of
from foothold_lab.harness.evidence.refusals import RefusedCall, describe_refusals
from foothold_lab.harness.evidence.requests import describe_requests, is_own_request
from foothold_lab.harness.evidence.strace import SubjectTrace
from foothold_lab.harness.evidence.task_size import beyond_task_size
from foothold_lab.harness.evidence.trace_source import CheckedTrace, Witnesses
from foothold_lab.harness.model.deadline import Check, unchecked
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.ledger import AddressSpace, Answer, Ledger, replay
from foothold_lab.harness.model.output import OutputDigest
from foothold_lab.harness.model.patterns import compile_pattern
from foothold_lab.harness.model.record import Ending, Record, Stop
from foothold_lab.harness.model.signals import signal_name
from foothold_lab.harness.model.verdict import Observation, Outcome, ReservationPath

TRACED = "ending, traced"  # evidence of a program that was run again without a tracer
RUNNING = "running"  # the checkpoint of a program that the harness has stopped
END = "end"  # the checkpoint of a program that was about to end by itself
MOST_OUTPUT = 4096  # characters of the last output
MANY_CALLS = 100  # reservations, refused without end: the program makes no progress
_KILLED = 9
_LAST_SIGNAL = 31  # of those with names; the others are real-time signals
_CONDITIONS = {
    "port": "it listens on its port; ",
    "file": "its file is there; ",
    "notify": "it has sent READY=1; ",
}


def observe_program(
    record: Record,
    untraced: Record | None = None,
    *,
    ready_pattern: str = "",
    must_be_ready: bool = False,
    task_size: int = 0,
    check: Check = unchecked,
) -> Observation:
    """Join trace, maps and end of a program. What makes no sense is a finding; only what `check`
    raises is raised.

    The program has started if it exited with status 0 and, with a `ready_pattern`, printed a match.
    A program that was still running at its timeout has started as well if it waits for events or
    makes progress, unless it `must_be_ready` (or exit) and was not. It makes no progress if all its
    large reservations were refused, its last calls were, or its page faults give it no memory.

    `untraced` is the record of a second run without a tracer, which then decides how the program
    ended. `task_size` is that of the guest, in bytes; 0: not known.

    The path is where the decisive reservation went (harness/evidence/decisive.py): `low` below
    4 GiB, else `high`; `refused` if the program lost it; None if it made no notable request.
    """
    with paused_collector():
        observer = _ProgramObserver(record, task_size, check)
        observer.read_witnesses()
        observer.read_ending(untraced)
        must_be_ready = must_be_ready or bool(ready_pattern)
        return observer.observation(ready_pattern, must_be_ready=must_be_ready)


class _ProgramObserver:
    """Collects evidence and findings from the witnesses of one program."""

    def __init__(self, record: Record, task_size: int, check: Check) -> None:
        self._record = record  # the one whose end counts
        self._task_size = task_size
        self._check = check
        self._witnesses = Witnesses(record, check)
        self._evidence: dict[str, str] = {}
        self._findings: list[Finding] = []
        self._traced: tuple[SubjectTrace, AddressSpace] | None = None
        self._mapped: Ledger = ()  # as the maps of an untraced program show it

    def read_witnesses(self) -> None:
        record = self._record
        if trace := self._witnesses.trace():
            self._read_trace(trace)
        elif RUNNING in record.maps:  # they do not show what the program requested
            self._mapped = ledger_of(self._read_maps(RUNNING))
        for what in record.cut:
            self._evidence[f"cut {what}"] = "there was more than is kept"

    def read_ending(self, untraced: Record | None) -> None:
        if untraced:
            self._evidence[TRACED] = _how(self._record)
            self._record = untraced
        ending = self._record.ending
        self._evidence["ending"] = _how(self._record) + self._signal_of_a_child()
        if ending.outlived and not _was_stopped(self._record):
            self._evidence["left behind"] = f"{ending.outlived} processes, which were ended"
        self._evidence["took"] = _took(ending)

    def _signal_of_a_child(self) -> str:
        """Name the signal that a status stands for: a shell exits with 128 + N if signal N killed
        the command that it waited for (POSIX, sh: 2.8.2). Empty if the program started no process.
        """
        status, started = self._record.ending.status, not self._traced or self._traced[0].children
        if not started or self._record.ending.signal or not 128 < status <= 128 + _LAST_SIGNAL:
            return ""
        return f": a child was probably killed by {signal_name(status - 128)}"

    def observation(self, ready_pattern: str, *, must_be_ready: bool) -> Observation:
        record = self._record
        ending, stopped = record.ending, _was_stopped(record)
        ready = not ready_pattern or record.ready or _matches(record, ready_pattern)
        outcome, message = Outcome.STARTS, ""
        if stopped:
            message = "" if record.ready or must_be_ready else self._lack_of_progress()
            if message or (must_be_ready and not record.ready):
                outcome = Outcome.HANGS
        elif ending.signal or ending.status:
            outcome, message = Outcome.DIES, choose_message(record.stdout, record.stderr)
        elif not ready:
            outcome, message = Outcome.DIES, f"it ended before it printed /{ready_pattern}/"
        return Observation(
            path=self._path(died=outcome is Outcome.DIES),
            outcome=outcome,
            status=0 if stopped else ending.status,
            signal=0 if stopped else ending.signal,
            message=message,
            evidence=self._evidence,
            contradictions=tuple(self._findings),
            last_output=_last_output(record),
            stopped=stopped,
            hindered=self._hindered(),
            stdout=OutputDigest.of(record.stdout, cut="stdout" in record.cut),
        )

    def _hindered(self) -> str:
        """Say which request for memory was refused or moved, or that this is not known."""
        if not self._traced:
            return "the program was not traced"
        subject, space = self._traced
        if subject.refused:
            return str(subject.refused[0])
        moved = (each for each in space.ledger if is_own_request(each))
        return next((str(each) for each in moved if each.answer is Answer.MOVED), "")

    def _lack_of_progress(self) -> str:
        """Say why a program that still runs makes no progress; empty if it does, or waits."""
        stop = self._record.stop
        if stop and stop.activity == "waits":
            return ""
        if stop and stop.activity == "faults":
            return "its page faults give it no memory"
        ledger = self._traced[1].ledger if self._traced else ()
        own = [each for each in ledger if is_own_request(each)]
        if own and all(each.granted is None for each in own):
            return "all its large reservations were refused, and it still tries"
        last = ledger[-MANY_CALLS:]
        if len(last) == MANY_CALLS and all(each.granted is None for each in last):
            return f"its last {MANY_CALLS} reservations were refused, and it still tries"
        return ""

    def _read_trace(self, trace: CheckedTrace) -> None:
        subject = trace.subject
        space = replay(subject.steps, self._check, subject.page_size)
        self._traced = subject, space
        self._findings += beyond_task_size(self._task_size, subject.steps)
        requests = describe_requests(subject, space)
        others = [each for each in subject.refused if not _is_own(each)]
        if refused := describe_refusals(others):
            self._evidence["refused"] = refused
        self._evidence["trace"] = requests or "nothing large, nothing with a hint"
        if subject.killed_in_exec:
            self._evidence["killed in"] = subject.killed_in_exec
        if subject.threads or subject.children:
            started = f"{subject.threads} threads, {subject.children} processes"
            self._evidence["started"] = started
        if trace.complaints:
            self._evidence["strace itself"] = "; ".join(trace.complaints[:3])
        if "trace" in self._record.cut:
            return  # without its end it cannot be compared with anything
        self._findings += trace.doubts
        for checkpoint in (RUNNING, END):
            if checkpoint in self._record.maps:
                self._compare_maps(trace, space, checkpoint)

    def _compare_maps(self, trace: CheckedTrace, space: AddressSpace, checkpoint: str) -> None:
        if checkpoint == RUNNING and self._record.stop and not self._record.stop.complete:
            self._evidence["stopped"] = "not all threads: trace and maps are not compared"
            return
        maps = self._read_maps(checkpoint)
        whole = f"maps-{checkpoint}" not in self._record.cut
        if maps and whole and trace.complete:
            self._findings += compare_with_late_maps(trace.subject, space, maps, checkpoint)

    def _path(self, *, died: bool) -> ReservationPath | None:
        """Return the path, and note the reservation that decides it."""
        if self._traced:
            decision = decide(*self._traced, died=died)
        else:
            decision = decide_from_maps(self._mapped)
        if decision is None:
            return None
        self._evidence = {"path": f"{decision}", **self._evidence}
        return decision.path

    def _read_maps(self, checkpoint: str) -> tuple[MappedRange, ...]:
        """Return the maps of a checkpoint; none, with a finding, if they cannot be read."""
        try:
            maps = self._witnesses.maps(checkpoint)
        except MapsError as error:
            text = f"The maps at `{checkpoint}` cannot be read: {error}."
            self._findings.append(Finding(Code.MAPS_UNREADABLE, text))
            return ()
        self._findings += beyond_task_size(self._task_size, maps={checkpoint: maps})
        name = f"maps while {RUNNING}" if checkpoint == RUNNING else f"maps at the {END}"
        self._evidence[name] = _largest(ledger_of(maps))
        return maps


def _is_own(refused: RefusedCall) -> bool:
    """Does the description of the own requests have it?"""
    return refused.reservation is not None and is_own_request(refused.reservation)


def _was_stopped(record: Record) -> bool:
    return record.stopped and record.ending.signal == _KILLED


def _matches(record: Record, ready_pattern: str) -> bool:
    pattern = compile_pattern(ready_pattern, per_line=True)
    return any(pattern.matches(each) for each in (record.stdout, record.stderr))


def _largest(ledger: Ledger) -> str:
    largest = heapq.nsmallest(3, ledger, key=lambda each: -each.length)
    return "; ".join(str(each) for each in largest) or "nothing anonymous"


def _how(record: Record) -> str:
    ending = record.ending
    if _was_stopped(record):
        was = "it was ready" if record.ready else "it was still running"
        return f"{was} after {ending.wall:.1f} s{_doing(record.stop)}, and was ended"
    return signal_name(ending.signal) if ending.signal else f"status {ending.status}"


def _doing(stop: Stop | None) -> str:
    if stop is None:
        return ""
    if stop.activity == "waits":
        threads = f", {stop.threads} threads" if stop.threads > 1 else ""
        doing = f"it waits in {stop.calls}{threads}"
    else:
        doing = "its page faults give it no memory" if stop.activity == "faults" else "it runs"
    return f" ({_CONDITIONS.get(stop.reason, '')}{doing})"


def _took(ending: Ending) -> str:
    return (
        f"{ending.wall:.2f} s, of a processor {ending.user + ending.system:.2f} s; "
        f"{ending.max_rss >> 20} MiB resident"
    )


def _last_output(record: Record) -> str:
    """Return the end of what it printed. Standard error comes last, because it matters more."""
    tails = (record.stdout[-MOST_OUTPUT:], record.stderr[-MOST_OUTPUT:])
    return "\n".join(tail.decode(errors="backslashreplace").strip() for tail in tails if tail)
