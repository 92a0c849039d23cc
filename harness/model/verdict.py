"""What was expected, what was observed, and what that comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from foothold_lab.harness.model.errors import Blame, UsageError, did_you_mean
from foothold_lab.harness.model.escape import escape_line, escape_shell
from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.model.output import OutputDigest, read_expected_output
from foothold_lab.harness.model.patterns import compile_pattern, matches
from foothold_lab.harness.model.signals import signal_name, signal_number


class ReservationPath(StrEnum):
    """The way a reservation went."""

    HIGH = "high"
    LOW = "low"
    LOW_GROWN = "low-grown"
    REFUSED = "refused"


class Outcome(StrEnum):
    """What became of the subject."""

    ALLOCATES = "allocates"
    DIES = "dies"
    STARTS = "starts"
    HANGS = "hangs"  # it still ran, and had not said that it has started


class Result(StrEnum):
    """What a cell came to."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    ERROR = "error"
    UNSUPPORTED = "unsupported"


class Conformance(StrEnum):
    """What must be so of all probes: they conform, or also, they differ as is known."""

    KNOWN = "conformance"
    STRICT = "conformance-strict"


_CONFORMS = {
    Conformance.KNOWN: "all probes conform, or differ as is known",
    Conformance.STRICT: "all probes conform",
}
MOST_STATUS = 255  # exit(3) keeps eight bits
EXPECTATION_FORMS = (
    "starts", "starts-clean", "dies:REGEX", "says:REGEX", "status:N", "signal:NAME",
    "panics:REGEX", "stdout:FILE", "same-output-as:GUEST", "path:high", "path:low", "path:refused",
    "conformance", "conformance-strict", "anything",
)  # fmt: skip
LAST_LINES = 8  # of a subject's output that a report shows
_SENTENCES = {
    Result.PASS: "passed",
    Result.FAIL: "failed",
    Result.ERROR: "ended with an error",
    Result.UNSUPPORTED: "is unsupported here",
}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What must happen. `message` is the last line on stderr of a subject that dies.

    An expectation may ask for less: any path or any outcome (None). Of a program that reports
    nothing it asks for less always, and may add: a regular expression `pattern` for what it
    printed; `exit_status`, with which it ends by itself; `signal`, which ends it; `clean`: none of
    its requests for memory was refused or moved; `panics`: its guest dies, and `pattern` matches in
    the message or the console; `stdout`: the digest of its standard output, which was read from
    `stdout_file`; `same_output_as`: the guest in which the same cell must print the same and end in
    the same way. `stdout` is None until the file was read, or that cell has run. `conformance` asks
    that all probes of the program conform.
    """

    path: ReservationPath | None
    outcome: Outcome | None
    status: int = 0
    message: str = ""
    reason: str = ""
    pattern: str = ""
    exit_status: int | None = None
    signal: int = 0
    clean: bool = False
    panics: bool = False
    stdout: OutputDigest | None = None
    stdout_file: str = ""
    same_output_as: str = ""
    conformance: Conformance | None = None

    @classmethod
    def parse(cls, text: str) -> Expectation:
        """Parse one of EXPECTATION_FORMS; `path:high` may also be written `high`.

        The file of `stdout:FILE` is not read (`with_output_read` does that), and any name is taken
        for that of a guest. Raises UsageError.
        """
        kind, colon, rest = text.partition(":")
        if text in ("starts", "starts-clean"):
            return cls(path=None, outcome=Outcome.STARTS, clean=text == "starts-clean")
        if text == "anything":
            return cls(path=None, outcome=None)
        if text in tuple(Conformance):
            return cls(path=None, outcome=None, conformance=Conformance(text))
        path = rest if kind == "path" else text
        if path in (ReservationPath.HIGH, ReservationPath.LOW, ReservationPath.REFUSED):
            return cls(path=ReservationPath(path), outcome=None)
        if kind in ("dies", "says", "panics") and colon:
            outcome = Outcome.DIES if kind == "dies" else None
            return cls(
                path=None,
                outcome=outcome,
                pattern=compile_pattern(rest).text,
                panics=kind == "panics",
            )
        if kind == "status" and colon:
            if not re.fullmatch(r"[0-9]{1,3}", rest) or int(rest) > MOST_STATUS:
                problem = f"{rest!r} is not an exit status from 0 to {MOST_STATUS}"
                raise UsageError(problem, "write for example status:3")
            return cls(path=None, outcome=None, exit_status=int(rest))
        if kind == "signal" and colon:
            return cls(path=None, outcome=None, signal=_signal(rest))
        if kind in ("stdout", "same-output-as") and rest:
            file, guest = (rest, "") if kind == "stdout" else ("", rest)
            return cls(path=None, outcome=None, stdout_file=file, same_output_as=guest)
        near = did_you_mean(text, EXPECTATION_FORMS)
        forms = f"{', '.join(EXPECTATION_FORMS[:-1])} or {EXPECTATION_FORMS[-1]}"
        raise UsageError(f"unknown expectation {text!r}{near}", f"write {forms}")

    def with_output_read(self, directory: Path) -> Expectation:
        """Return the same with the output that the file of `stdout:FILE` holds now.

        A relative path begins at `directory`. Raises UsageError if the file cannot be read.
        """
        if not self.stdout_file or self.same_output_as:
            return self
        file = (directory / self.stdout_file).absolute()
        stdout = OutputDigest.of(read_expected_output(file))
        return replace(self, stdout=stdout, stdout_file=str(file))

    def agrees(self, other: Expectation) -> bool:
        """Is the other the same in all that both of them say, but the reason?"""
        if not (self.partial or other.partial):
            return replace(self, reason="") == replace(other, reason="")
        path = None in (self.path, other.path) or self.path is other.path
        outcome = None in (self.outcome, other.outcome) or _is(self.outcome, other.outcome)
        status = self.exit_status in (None, other.status)
        place = not self.clean or other.path in (None, ReservationPath.HIGH)
        if self.signal or self.panics or not (status and place):
            return False
        return path and outcome and matches(self.pattern, other.message)

    @property
    def partial(self) -> bool:
        """Does it ask for less than all?"""
        return self.path is None or self.outcome is None

    def __str__(self) -> str:
        if self.conformance:
            return _CONFORMS[self.conformance]
        if self.panics:
            return f"the guest panics with /{self.pattern}/"
        if self.same_output_as or self.stdout_file:
            return self._output()
        if self.exit_status is not None:
            return f"status {self.exit_status}"
        if self.signal:
            return f"killed by {signal_name(self.signal)}"
        if self.clean:
            return "starts, no request for memory refused or moved"
        if self.outcome is None and self.pattern:
            return f"says /{self.pattern}/"
        if self.outcome is None:
            return f"path {self.path}" if self.path else "anything"
        if self.outcome is Outcome.DIES and self.partial:
            return f"dies, saying /{self.pattern}/" if self.pattern else "dies"
        return describe(self.path, self.outcome, self.status, self.message)

    def _output(self) -> str:
        if self.same_output_as:
            return f"same output as {self.same_output_as}{self._ending()}"
        return f"standard output as in {self.stdout_file}"

    def _ending(self) -> str:
        """Say how the program ended in the other guest; empty until it is known."""
        if self.signal:
            return f", killed by {signal_name(self.signal)}"
        if self.exit_status is not None:
            return f", status {self.exit_status}"
        return f", {self.outcome}" if self.outcome else ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the witnesses show together.

    `evidence` has one line for each witness, `contradictions` a finding for each disagreement between
    two of them. `last_output` is the end of what the subject printed. `stopped`: it did not end by
    itself. `hindered` says which request for memory was refused or moved, or that this is unknown.
    `stdout` is the digest of the standard output of a program, `output_difference` says where it
    begins to differ from the expected one.
    """

    path: ReservationPath | None
    outcome: Outcome | None
    status: int
    signal: int
    message: str
    evidence: Mapping[str, str] = field(default_factory=dict)
    contradictions: tuple[Finding, ...] = ()
    last_output: str = ""
    stopped: bool = False
    hindered: str = ""
    stdout: OutputDigest | None = None
    output_difference: str = ""

    def is_as(self, expected: Expectation) -> bool:
        """Is it what was expected, in path, outcome, status and message?"""
        if expected.partial:
            return self._is_partly(expected)
        seen = (self.path, self.outcome, self.status, self.message)
        asked = (expected.path, expected.outcome, expected.status, expected.message)
        return seen == asked and not self.signal

    def _is_partly(self, expected: Expectation) -> bool:
        if not self._has_ended_as(expected) or not self._has_printed_as(expected):
            return False
        path = expected.path in (None, self.path)
        outcome = expected.outcome is None or _is(self.outcome, expected.outcome)
        return path and outcome and matches(expected.pattern, self.last_output or self.message)

    def _has_ended_as(self, expected: Expectation) -> bool:
        if expected.panics or (expected.clean and not self._is_clean()):
            return False
        if expected.signal and self.signal != expected.signal:
            return False
        by_itself = not self.stopped and not self.signal
        return expected.exit_status is None or (by_itself and self.status == expected.exit_status)

    def _has_printed_as(self, expected: Expectation) -> bool:
        if expected.stdout is None:  # nothing is known that it must print
            return not expected.stdout_file and not expected.same_output_as
        return self.stdout == expected.stdout

    def _is_clean(self) -> bool:
        if "report" in self.evidence:  # of the allocator
            return self.path is ReservationPath.HIGH
        return not self.hindered

    def __str__(self) -> str:
        if self.outcome is Outcome.STARTS:
            return describe(self.path, self.outcome, 0, "")
        if self.signal:
            killed = f"killed by {signal_name(self.signal)}"
            return f"{killed}: {self.message}" if self.message else killed
        reports = "report" in self.evidence  # what reports nothing may have no path
        if self.outcome is None or (reports and self.path is None):
            told = f"unclear, status {self.status}"
            return f"{told}: {self.message}" if self.message else told
        return describe(self.path, self.outcome, self.status, self.message)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A try that did not pass, after which the cell was asked again. As in Verdict."""

    result: Result
    seconds: float
    findings: tuple[Finding, ...] = ()
    observed: Observation | None = None
    blame: Blame | None = None
    artefacts: str = ""
    worker: str = ""

    @property
    def reason(self) -> str:
        """The text of the first finding, empty without one."""
        return self.findings[0].text if self.findings else ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one cell came to; seconds are wall time of the cell alone.

    Each of `findings` says which two of observation, prediction, plan and witnesses disagree, or
    why the cell has no answer. `attempts` are the earlier tries, the oldest first. `worker` is
    the worker of the cluster that the cell ran on, empty without a cluster.
    """

    cell: str
    result: Result
    seconds: float
    predicted: Expectation | None = None
    expected: Expectation | None = None
    observed: Observation | None = None
    findings: tuple[Finding, ...] = ()
    blame: Blame | None = None
    remedy: str = ""
    notes: tuple[str, ...] = ()
    console: str = ""
    command: tuple[str, ...] = ()
    artefacts: str = ""
    attempts: tuple[Attempt, ...] = ()
    worker: str = ""

    @property
    def reason(self) -> str:
        """The text of the first finding, empty without one."""
        return self.findings[0].text if self.findings else ""

    @property
    def reason_and_remedy(self) -> str:
        """The reason, and the remedy if there is one."""
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason

    @property
    def flaky(self) -> bool:
        """Did it come to something else when it was asked again?"""
        return any(each.result is not self.result for each in self.attempts)

    def as_attempt(self) -> Attempt:
        """Return it as a try of which another one follows."""
        return Attempt(
            result=self.result,
            seconds=self.seconds,
            findings=self.findings,
            observed=self.observed,
            blame=self.blame,
            artefacts=self.artefacts,
            worker=self.worker,
        )

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines that the subject printed, as it printed them, without empty lines."""
        text = self.observed.last_output if self.observed else ""
        return tuple(line for line in text.splitlines() if line.strip())[-LAST_LINES:]

    @property
    def passed(self) -> bool:
        """Is all as expected?"""
        return self.result is Result.PASS

    def __str__(self) -> str:
        sentences = [f"{self.cell} {_SENTENCES[self.result]}."]
        if self.observed:
            sentences.append(f"Observed: {self.observed}.")
        if self.expected and not self.passed:
            sentences.append(f"Expected: {self.expected}.")
        sentences += [f"{each.text.rstrip('.')} [{each.code}]." for each in self.findings]
        if self.remedy:
            sentences.append(f"Remedy: {self.remedy.rstrip('.')}.")
        lines = [" ".join(sentences)]
        if self.last_lines and not self.passed:
            lines += ["Last output of the subject:", *(f"  | {line}" for line in self.last_lines)]
        if self.command and not self.passed:
            lines.append(f"Again: {escape_shell(self.command)}")
        return "\n".join(escape_line(line, None) for line in lines)


def _signal(name: str) -> int:
    try:
        return signal_number(name)
    except ValueError as error:
        raise UsageError(str(error), "`kill -l` lists the names") from error


def _is(seen: Outcome | None, asked: Outcome | None) -> bool:
    """One that allocates has started."""
    return seen is asked or (asked is Outcome.STARTS and seen is Outcome.ALLOCATES)


def describe(path: ReservationPath | None, outcome: Outcome, status: int, message: str) -> str:
    """Write a path and an outcome as one phrase, for tables and sentences."""
    where = f"{path}, " if path else ""
    if outcome is Outcome.HANGS and message:
        return f"{where}hangs: {message}"
    if outcome is not Outcome.DIES:
        return f"{where}{outcome}"
    dies = "dies" if path is ReservationPath.REFUSED else f"{where}dies"
    return f"{dies}, status {status}: {message}" if message else f"{dies}, status {status}"
