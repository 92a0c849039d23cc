"""One cell: its subject is executed in a booted guest, observed, and judged; or someone is blamed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness import conformance, evidence
from foothold_lab.harness.guests.base import Support
from foothold_lab.harness.guests.limit_support import measure_under, support_for
from foothold_lab.harness.guests.seccomp_profile import seccomp_filter
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Check, Deadline
from foothold_lab.harness.model.errors import (
    Blame,
    FootholdError,
    GuestError,
    InfrastructureError,
    SubjectError,
    UnsupportedError,
)
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.kernel_log import kernel_faults
from foothold_lab.harness.model.record import GuestStateMoments, Record
from foothold_lab.harness.model.verdict import (
    Conformance,
    Expectation,
    Observation,
    Outcome,
    Result,
    Verdict,
)
from foothold_lab.harness.oracle import predict, unknown
from foothold_lab.harness.runner.booted_guest import BootedGuest, subject_support
from foothold_lab.harness.runner.console_log import ConsoleLog
from foothold_lab.harness.runner.execution import Conditions, Execution, deadline_for, execute
from foothold_lab.harness.runner.guest_state import change_of_guest
from foothold_lab.harness.runner.missing_files import add_missing, missing_files
from foothold_lab.harness.subjects.subject import Subject, can_judge_under

LAST_BYTES, LAST_WORDS = 4096, 3  # of the output of a program whose guest died: bytes, lines
# codes of errors of others after which the guest is not used again
_SPOILS_GUEST = (Code.SUBJECT_FORGED, Code.INFRASTRUCTURE_CONNECTION)
JUDGING_SECONDS = 120.0  # the longest trace that is kept takes about 20 s on one processor


def run_cell(booted: BootedGuest, cell: Cell, subject: Subject, directory: Path) -> Verdict:
    """Run a cell to its verdict, and add it to those of the guest.

    The evidence is written into `directory`. The guest was booted with the subject.
    """
    verdict = _verdict(booted, cell, subject, directory)
    booted.verdicts.append(verdict)
    return verdict


def run_added_cell(booted: BootedGuest, cell: Cell, subject: Subject, directory: Path) -> Verdict:
    """Run a cell whose subject was not deployed at boot: copy the subject into the guest first.

    Raises UsageError if a file of the subject cannot be read, GuestError if the guest refuses it.
    """
    support = subject_support(subject, booted.kind, booted.options)
    if support.ok:
        booted.deploy(subject)
        return run_cell(booted, cell, subject, directory)
    finding = Finding(Code.UNSUPPORTED_SUBJECT, support.reason)
    verdict = unsupported(cell, finding, support.remedy)
    booted.verdicts.append(verdict)
    return verdict


def unsupported(cell: Cell, finding: Finding, remedy: str) -> Verdict:
    """Return the verdict on a cell that a guest cannot run."""
    return Verdict(
        cell=cell.id,
        result=Result.UNSUPPORTED,
        seconds=0.0,
        expected=cell.expected,
        findings=(finding,),
        blame=Blame.UNSUPPORTED,
        remedy=remedy,
        command=cell.command,
    )


def _support(booted: BootedGuest, cell: Cell, subject: Subject) -> Support:
    """Say whether the guest can apply the limits, and whether they can judge the subject."""
    support = support_for(booted.guest, booted.facts, cell.limits, subject.machine, subject.user)
    judged = can_judge_under(subject, cell.limits.ceiling) if support.ok else support
    return replace(judged, notes=support.notes) if judged.ok else judged


def _machine_support(booted: BootedGuest, subject: Subject) -> Support:
    """Say whether a guest whose machine was not known before its boot can run a subject."""
    if machines := booted.guest.boot_record.machines:
        return subject_support(subject, booted.kind, booted.options, machines)
    return Support(True)


def _verdict(booted: BootedGuest, cell: Cell, subject: Subject, directory: Path) -> Verdict:
    started = time.monotonic()
    guest = booted.guest
    if not (support := _machine_support(booted, subject)).ok:
        return unsupported(cell, Finding(Code.UNSUPPORTED_SUBJECT, support.reason), support.remedy)
    if not (support := _support(booted, cell, subject)).ok:
        return unsupported(cell, Finding(Code.UNSUPPORTED_LIMIT, support.reason), support.remedy)
    untraced = _untraced(booted, wanted=booted.options.trace and cell.trace)
    notes = [*guest.boot_record.notes, *support.notes, *filter(None, (untraced, booted.replaces))]
    booted.replaces = ""
    deadline = deadline_for(cell, subject, guest)
    console = ConsoleLog(booted.directory)
    predicted = None
    try:
        facts = measure_under(guest, booted.facts, cell.limits, deadline)
        if subject.reports:
            predicted, unpredicted = _prediction(cell, facts)
            notes += [unpredicted] if unpredicted else []
        conditions = Conditions(
            trace=not untraced,
            guest_state=_moments(booted),
            seccomp=seccomp_filter(cell.limits, booted.facts, booted.options.builder),
        )
        execution = execute(cell, subject, guest, deadline, conditions)
        execution.write(directory, reports=subject.reports)
        observation = execution.observe(
            cell,
            subject,
            pointers=facts.pointer_size,
            task_size=booted.facts.task_size,
            check=_judging_check(booted),
        )
        observation = _judge_probes(booted, cell, execution, observation)
    except UnsupportedError as error:
        return unsupported(cell, error.finding, error.remedy)
    except FootholdError as error:
        if error.record:  # what it printed before its guest died is evidence
            error.record.write(directory, "stdout.jsonl" if subject.reports else "stdout")
            notes += [f"it had printed: {line}" for line in _last_words(error.record)]
        booted.unsound |= isinstance(error, GuestError) or error.code in _SPOILS_GUEST
        verdict = _unobserved(booted, cell, subject, error)
        return replace(
            verdict,
            seconds=time.monotonic() - started,
            notes=(*notes, *verdict.notes),
            artefacts=str(directory),
        )
    if execution.untraced:
        notes.append("run again without a tracer, under which it did not come to an end")
    notes += _changes_of_guest(booted, execution)
    console_tail = guest.diagnose()  # it completes the log
    if faults := _kernel_faults(console, execution):
        booted.unsound = True
        observation = _with_faults(booted, cell, execution, observation, faults)
    verdict = evidence.judge(
        cell,
        predicted,
        observation,
        seconds=time.monotonic() - started,
        notes=notes,
        console=console_tail,
    )
    missing = _missing(booted, cell, subject, verdict, traced=not untraced)
    return replace(add_missing(verdict, missing), artefacts=str(directory))


def _unobserved(booted: BootedGuest, cell: Cell, subject: Subject, error: FootholdError) -> Verdict:
    """Return the verdict on a cell whose subject did not come to an end that can be observed.

    Its guest may have been expected to die.
    """
    if isinstance(error, GuestError) and cell.expected and cell.expected.panics:
        is_root = subject.user in ("", "root", "0")
        return evidence.judge_panic(cell, error, is_root=is_root, seconds=0.0)
    if booted.unsound and error.record and cell.expected and cell.expected.conformance:
        return _judge_killed_guest(booted, cell, subject, error)
    return Verdict(
        cell=cell.id,
        result=Result.ERROR,
        seconds=0.0,
        expected=cell.expected,
        findings=(error.finding,),
        blame=error.blame,
        remedy=error.remedy,
        console=error.console if isinstance(error, GuestError) else booted.guest.diagnose(),
        command=cell.command,
    )


def _judge_probes(
    booted: BootedGuest, cell: Cell, execution: Execution, observation: Observation
) -> Observation:
    """Add what the probes of the program found, if the cell asks for conformance.

    Raises UnsupportedError if single probes were asked for and do not apply to the kernel.
    """
    if not cell.expected or not cell.expected.conformance:
        return observation
    report = conformance.read_report(execution.last.stdout)
    if cell.expected.conformance is Conformance.STRICT and report.does_not_apply:
        raise UnsupportedError(
            f"{report.answers[0].probe} does not apply here: {report.answers[0].measured}",
            "ask a kernel, or a processor, that has the feature",
            code=Code.UNSUPPORTED_SUBJECT,
        )
    return conformance.judge_probes(observation, report, _known_differences(booted, cell))


def _with_faults(
    booted: BootedGuest,
    cell: Cell,
    execution: Execution,
    observation: Observation,
    faults: Sequence[Finding],
) -> Observation:
    """Add what the kernel reported of its own faults; of probes that is known, it is evidence only."""
    known = _known_differences(booted, cell)
    report = conformance.read_report(execution.last.stdout if known else b"")
    return conformance.judge_kernel_faults(observation, report, faults, known)


def _judge_killed_guest(
    booted: BootedGuest, cell: Cell, subject: Subject, error: FootholdError
) -> Verdict:
    """Judge a cell whose guest died or hung under a probe."""
    assert error.record
    report = conformance.read_report(error.record.stdout)
    known = _known_differences(booted, cell)
    asked = subject.argv[1:]
    finding, lines = conformance.judge_killed_guest(report, asked, str(error), known)
    return Verdict(
        cell=cell.id,
        result=Result.FAIL if finding else Result.PASS,
        seconds=0.0,
        expected=cell.expected,
        observed=Observation(
            path=None,
            outcome=Outcome.DIES,
            status=-1,
            signal=0,
            message=str(error),
            evidence=lines,
        ),
        findings=(finding,) if finding else (),
        blame=Blame.GUEST if finding else None,
        console=error.console if isinstance(error, GuestError) else "",
        command=cell.command,
    )


def _known_differences(booted: BootedGuest, cell: Cell) -> tuple[conformance.KnownDifference, ...]:
    """Return the known differences of the kernel of a guest; none if none is allowed."""
    if not cell.expected or cell.expected.conformance is not Conformance.KNOWN:
        return ()
    argv = booted.guest.boot_record.argv
    kernel = conformance.kernel_of(booted.name, booted.facts.release, argv)
    return tuple(each for each in conformance.known_differences() if each.holds_for(kernel))


def _missing(
    booted: BootedGuest, cell: Cell, subject: Subject, verdict: Verdict, *, traced: bool
) -> tuple[str, ...]:
    """Return which files a program that died misses in the guest; looked for once in a boot."""
    died = verdict.observed is not None and verdict.observed.outcome is Outcome.DIES
    if verdict.result is not Result.FAIL or not died or not traced:
        return ()
    if subject.name not in booted.missing_files:
        booted.missing_files[subject.name] = missing_files(booted.guest, cell, subject)
    return booted.missing_files[subject.name]


def _moments(booted: BootedGuest) -> GuestStateMoments:
    """Say when the agent reads what a cell may change of its guest; not on the host's kernel,
    nor if the next cell gets a new guest.
    """
    capabilities = booted.guest.capabilities
    if not capabilities.own_kernel or capabilities.fresh:
        return ""
    return "after" if booted.state else "both"


def _changes_of_guest(booted: BootedGuest, execution: Execution) -> list[str]:
    """Return what the cell has changed of its guest, as notes. The guest is not used again then."""
    notes = []
    for record in execution.records:
        booted.state, change = change_of_guest(record, booted.state)
        if change:
            notes.append(str(change))
            booted.unsound = True
    return notes


def _kernel_faults(console: ConsoleLog, execution: Execution) -> list[Finding]:
    """Return what the kernel reported of its own faults while the program ran."""
    found = [
        Finding(Code.GUEST_KERNEL_WARNING, f"The kernel reported a fault: {message}")
        for message in kernel_faults(console.read())
    ]
    for record in execution.records:
        before, after = record.ending.taint_before, record.ending.taint_after
        if after != before:
            text = f"The taint of the kernel changed from {before} to {after}."
            found.append(Finding(Code.GUEST_TAINT, text))
    return found


def _last_words(record: Record) -> list[str]:
    text = (record.stderr or record.stdout)[-LAST_BYTES:].decode(errors="backslashreplace")
    return [line.strip() for line in text.splitlines() if line.strip()][-LAST_WORDS:]


def _judging_check(booted: BootedGuest) -> Check:
    """Return a check that gives up judging when the run is stopped, or after JUDGING_SECONDS."""
    deadline = Deadline.after(JUDGING_SECONDS)

    def check() -> None:
        if booted.is_stopping():
            raise InfrastructureError("the run is being stopped", code=Code.INFRASTRUCTURE_STOPPED)
        if deadline.expired:
            raise SubjectError(
                f"the trace of the subject could not be judged in {JUDGING_SECONDS:.0f} s",
                "--no-trace judges it without its trace",
                code=Code.SUBJECT_DEADLINE,
            )

    return check


def _untraced(booted: BootedGuest, *, wanted: bool) -> str:
    """Say why a subject is not traced; empty if it is."""
    if not wanted:
        return "not traced: report and maps are the witnesses"
    tracer, tools = booted.guest.capabilities.tracer, booted.facts.tools
    if tools.ptrace and tracer != "emulator":
        return f"not traced: ptrace is refused (errno {tools.ptrace})"
    if tools.seccomp and tracer == "agent":
        return f"not traced: seccomp is refused (errno {tools.seccomp})"
    return ""


def _prediction(cell: Cell, facts: Facts) -> tuple[Expectation | None, str]:
    """Return what the oracle predicts; or None and why not, if the plan has an expectation.

    Raises UnsupportedError if neither has one, or if the policy has no code for such pointers.
    """
    if why := unknown(facts, cell.policy):
        raise UnsupportedError(why, "take a 64-bit guest", code=Code.UNSUPPORTED_POLICY)
    try:
        return predict(facts, cell.limits, cell.policy, workload=cell.workload), ""
    except UnsupportedError as error:
        if cell.expected is None:
            raise
        return None, f"no prediction: {error}"
