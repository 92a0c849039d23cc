"""The third witness: the system calls, as strace wrote them in the guest.

Read strictly: what is not a line that strace writes is counted and quoted, never guessed. Tracer
and harness agree on `-f -a 1` with the log and strace's own complaints in one stream
(images/agent/strace_exec.c). Where a subject has faults, the agent is its tracer, and writes what strace
would, behind a first line that says so (images/agent/trace_writer.c).
"""

from __future__ import annotations

import io
import re
import signal
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from foothold_lab.harness.evidence.mapping_calls import (
    CHANGING_CALLS,
    Call,
    MappingEffects,
)
from foothold_lab.harness.evidence.refusals import (
    STARTERS,
    RefusedCall,
    RefusedCalls,
    refused_call,
)
from foothold_lab.harness.model.deadline import Check, checked, unchecked
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.ledger import PAGE, Step
from foothold_lab.harness.model.record import Ending

LONGEST_LINE = 64 << 10  # bytes; strace shortens strings and arrays, so its lines are below 4 KiB
MOST_UNKNOWN = 5  # lines that are quoted
SHOWN = 200  # characters of a line that is quoted

_PID = re.compile(r"(?P<pid>[0-9]{1,10}) +(?P<rest>.*)")
_NAME = r"(?P<name>[a-z_][a-z0-9_]*|\?\?\?)"  # a call that it came too late to look at
_RESULT = (
    r" += (?:(?P<hex>0x[0-9a-f]{1,16})|(?P<number>-?[0-9]{1,20})|(?P<none>\?)(?: <unavailable>)?)"
    r"(?: (?P<errno>E[A-Z0-9]+) \([^()]*\))?(?: \([^()]*\))*"
)
_WHOLE = re.compile(rf"{_NAME}\((?P<args>.*)\){_RESULT}")
# an execve by another thread than the first, whose number it then has
_UNFINISHED = re.compile(
    rf"{_NAME}\((?P<args>.*?) ?<(?:unfinished|detached|pid changed to \d+) \.\.\.>"
)
_RESUMED = re.compile(rf"<\.\.\. {_NAME} resumed>(?P<args>.*)\){_RESULT}")
_NEVER = re.compile(rf"<\.\.\. {_NAME} resumed>(?P<args>.*?) ?<unfinished \.\.\.>\) += \?")
# what most lines are; each match is one of _PID and _WHOLE as well
_PLAIN = re.compile(
    r"([0-9]{1,10}) +([a-z_][a-z0-9_]*)\(([^()\[\]{}\"<>]*)\) += (?:(0x[0-9a-f]{1,16})|(-?[0-9]{1,20}))"
    r"(?: (E[A-Z0-9]+) \([^()]*\))?"
)
_SIGNAL = re.compile(r"--- (?P<what>SIG\w+ \{.*\}|stopped by SIG\w+) ---")
_END = re.compile(
    r"\+\+\+ (?P<how>exited with (?P<status>[0-9]{1,10})|killed by (?P<signal>SIG\w+)(?: \(core dumped\))?"
    r"|superseded by execve in pid (?P<by>[0-9]{1,10})) \+\+\+"
)
_MODE = re.compile(r"\[ Process PID=\d+ runs in .* mode\. \]")
_AGENT = re.compile(r"agent: Process \d+ attached")
# strace writes it into the line of execve if an arm64 kernel starts a program for arm
_WARNING = (
    b"/usr/bin/strace: WARNING: Proper structure decoding for this personality is not supported, "
    b"please consider building strace with mpers support enabled.\n"
)
_STRACE = re.compile(r"(?:\S*/)?strace: (?P<what>.*)")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A log, read. `endings` says how each process ended, `open` which calls never came back,
    `after_end` the first line of each process behind its end.

    `unknown` counts lines that strace does not write, `quoted` has the first of them. `complaints`
    are of strace itself. `by_agent`: the agent wrote the log, not strace.
    """

    calls: tuple[Call, ...] = ()
    signals: tuple[str, ...] = ()
    endings: Mapping[int, str] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    after_end: Mapping[int, str] = field(default_factory=dict)
    unknown: int = 0
    quoted: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    by_agent: bool = False


@dataclass(frozen=True, kw_only=True)
class SubjectTrace:
    """What the trace shows of the subject itself, from its own first instruction on.

    `programs` are what it executed, `threads` and `children` how many it started, `unread` calls
    whose arguments make no sense. `refused` are its own calls that were refused memory, like ones
    as a group, in the order of the last of each. `ending` is empty if the trace ends before the subject.
    `killed_in_exec` is the execve at which the kernel killed it, empty if it did not: the old
    address space was gone, and the new one could not be made (begin_new_exec() in fs/exec.c).
    `pending`: a call that may change what is mapped had not come back at the end. `page_size` is that
    of the kernel, in bytes. `touched` is the first call that used the log of an emulator, `after_end`
    the first one of the subject behind its end; both are empty without one.
    """

    steps: tuple[Step, ...]
    programs: tuple[str, ...] = ()
    threads: int = 0
    children: int = 0
    unread: tuple[str, ...] = ()
    refused: tuple[RefusedCall, ...] = ()
    ending: str = ""
    killed_in_exec: str = ""
    pending: bool = False
    page_size: int = PAGE
    touched: str = ""
    after_end: str = ""


def parse_trace(log: bytes, check: Check = unchecked) -> Trace:
    """Read what strace wrote. Lines that make no sense are counted in `unknown`. Raises only what
    `check` raises.
    """
    return _Reader().read(log, check)


class _Reader:
    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._signals: list[str] = []
        self._endings: dict[int, str] = {}
        self._begun: dict[int, tuple[str, str]] = {}  # pid -> (name, the line's first part)
        self._begun_anew: set[int] = set()  # by an execve that has succeeded
        self._after_end: dict[int, str] = {}
        self._quoted: list[str] = []
        self._unknown = 0
        self._complaints: list[str] = []
        self._by_agent = False

    def read(self, log: bytes, check: Check) -> Trace:
        lines = io.BytesIO(log.replace(_WARNING, b""))
        for place, line in enumerate(checked(lines, check)):
            self._read_line(line, first=place == 0)
        return Trace(
            calls=tuple(self._calls),
            signals=tuple(self._signals),
            endings=self._endings,
            open=tuple(text[:SHOWN] for _, text in self._begun.values()),
            after_end=self._after_end,
            unknown=self._unknown,
            quoted=tuple(self._quoted),
            complaints=tuple(self._complaints),
            by_agent=self._by_agent,
        )

    def _read_line(self, line: bytes, *, first: bool) -> None:
        text = line[: LONGEST_LINE + 1].decode(errors="backslashreplace")
        whole = text.endswith("\n")
        text = text.removesuffix("\n")
        if not whole:  # longer than any of strace's, or cut off
            self._quote(text)
        elif first and _AGENT.fullmatch(text):
            self._by_agent = True
        elif not (self._plain_call(text) or self._line(text)):
            self._quote(text)

    def _quote(self, text: str) -> None:
        self._unknown += 1
        if len(self._quoted) < MOST_UNKNOWN:
            self._quoted.append(text[:SHOWN])

    def _plain_call(self, text: str) -> bool:
        """Read a call as most are: on one line, with arguments that have no quotes or brackets."""
        match = _PLAIN.fullmatch(text)
        if not match:
            return False
        pid_text, name, args, hexadecimal, number, errno = match.groups()
        pid = int(pid_text)
        result = int(hexadecimal, 16) if hexadecimal else int(number)
        if (
            pid in self._endings
            or pid in self._begun
            or pid in self._begun_anew
            or (errno and result != -1)
        ):
            return False
        parts = tuple(map(str.strip, args.split(","))) if args.strip() else ()
        line = text[match.start(2) : match.start(2) + SHOWN]
        self._calls.append(
            Call(pid=pid, name=name, args=parts, result=result, errno=errno or "", line=line)
        )
        return True

    def _line(self, text: str) -> bool:
        if match := _STRACE.fullmatch(text):
            self._complaints.append(match["what"][:SHOWN])
            return True
        if not (match := _PID.fullmatch(text)):
            return False
        pid, rest = int(match["pid"]), match["rest"]
        if not self._endings.get(pid, "superseded").startswith("superseded"):
            self._after_end.setdefault(pid, rest[:SHOWN])
        if match := _END.fullmatch(rest):
            self._endings[pid] = match["how"]
            self._never(pid)
            if match["by"] and (call := self._begun.pop(int(match["by"]), None)):
                self._begun[pid] = call
                self._begun_anew.add(pid)
            return True
        if match := _SIGNAL.fullmatch(rest):
            self._signals.append(f"{pid} {match['what']}"[:SHOWN])
            return True
        if _MODE.fullmatch(rest):
            return True
        return self._call(pid, rest)

    def _call(self, pid: int, rest: str) -> bool:
        if match := _NEVER.fullmatch(rest):
            return self._never(pid) == match["name"]
        if match := _RESUMED.fullmatch(rest):
            name, first = self._begun.pop(pid, ("", ""))
            if name != match["name"]:
                return False
            begun = first.partition("(")[2]
            return self._finish(pid, match, begun + match["args"], f"{first}{match['args']})")
        if match := _UNFINISHED.fullmatch(rest):
            if pid in self._begun:
                return False
            self._begun[pid] = (match["name"], f"{match['name']}({match['args']}")
            return True
        if (match := _WHOLE.fullmatch(rest)) and pid not in self._begun:
            return self._finish(pid, match, match["args"], "")
        return False

    def _never(self, pid: int) -> str:
        """Note that the call that this process has begun does not come back, and return its name."""
        name, first = self._begun.pop(pid, ("", ""))
        if name:
            self._calls.append(
                Call(pid=pid, name=name, args=(), result=None, errno="", line=first[:SHOWN])
            )
        return name

    def _finish(self, pid: int, match: re.Match[str], args: str, joined: str) -> bool:
        parts = split(args)
        if parts is None:
            return False
        value = match["hex"] or match["number"]
        line = match.string[match.start() :]
        if joined:
            line = joined + line[line.rindex(" = ") :]
        result = int(value, 16 if match["hex"] else 10) if value else None
        errno = match["errno"] or ""
        if pid in self._begun_anew:  # strace shows what a register happens to hold
            self._begun_anew.discard(pid)
            result, errno = 0, ""
        if errno and result not in (-1, None):
            return False
        injected = match.string.endswith(" (INJECTED)")
        self._calls.append(
            Call(
                pid=pid,
                name=match["name"],
                args=parts,
                result=result,
                errno=errno,
                line=line[:SHOWN],
                injected=injected,
            )
        )
        return True


def split(args: str) -> tuple[str, ...] | None:
    """Split arguments at commas that are in no string and no bracket; None if those do not fit."""
    parts: list[str] = []
    depth, start, at = 0, 0, 0
    while at < len(args):
        char = args[at]
        if char == '"':
            at += 1
            while at < len(args) and args[at] != '"':
                at += 2 if args[at] == "\\" else 1
            if at >= len(args):
                return None
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif char == "," and depth == 0:
            parts.append(args[start:at].strip())
            start = at + 1
        at += 1
    if depth:
        return None
    last = args[start:].strip()
    return (*parts, last) if last or parts else ()


def follow_subject(
    trace: Trace, pid: int, check: Check = unchecked, page_size: int = PAGE
) -> SubjectTrace:
    """Follow the subject's own address space: its process and threads, from its own execve on.

    The log begins with the agent, which sets the limits and then becomes the subject; the agent's
    own log begins with the subject. Each further execve begins a new address space, so the steps
    before it are dropped.
    """
    ours = _threads(trace, pid)
    follower = _Follower(ours, executed=int(trace.by_agent))
    last: Call | None = None
    for call in checked(trace.calls, check):
        follower.read(call)
        last = call if call.pid == pid else last
    ending = trace.endings.get(pid, "")
    killed = last is not None and last.name in _EXECS and ending.startswith("killed by")
    return SubjectTrace(
        steps=tuple(follower.steps),
        programs=tuple(follower.programs),
        threads=follower.threads,
        children=follower.children,
        unread=tuple(follower.unread),
        refused=follower.refused.groups(),
        ending=ending,
        killed_in_exec=last.line if last and killed and last.result != 0 else "",
        after_end=trace.after_end.get(pid, ""),
        pending=any(
            call.result is None and call.pid in ours and call.name in CHANGING_CALLS
            for call in trace.calls
        ),
        page_size=page_size,
    )


class _Follower:
    """Follows the calls of the threads `ours`, which have `executed` so many programs before."""

    def __init__(self, ours: set[int], executed: int) -> None:
        self.programs: list[str] = []
        self.steps: list[Step] = []
        self.unread: list[str] = []
        self.refused = RefusedCalls()
        self.threads = self.children = 0
        self._ours = ours
        self._executed = executed
        self._effects = MappingEffects()

    def read(self, call: Call) -> None:
        if call.pid not in self._ours:
            if call.name == "shmget":
                self._apply(call)
        elif call.name in _EXECS and call.result == 0:
            self._executed += 1
            self.steps.clear()
            self.refused.clear()
            if self._executed > 1:
                self.programs.append(_text(call.args[0 if call.name == "execve" else 1]))
        elif call.name in STARTERS and call.result is not None and call.result > 0:
            self._effects.note_thread(call.pid, call.result)
            if call.result in self._ours:
                self.threads += 1
            else:
                self.children += 1
        elif self._executed > 1:
            self._apply(call)

    def _apply(self, call: Call) -> None:
        """Note what a call did, and whether it was refused."""
        try:
            self._effects.note_segment(call)
            self._effects.note_personality(call)
            if step := self._effects.step(call):
                self.steps.append(step)
            if call.pid in self._ours and (refused := refused_call(call)):
                self.refused.add(refused)
        except (ValueError, IndexError):
            self.unread.append(call.line)


def _threads(trace: Trace, pid: int) -> set[int]:
    """Return the process and its threads. They must be known before their calls are read, because
    a thread may make its first calls before the call that has started it comes back.
    """
    started: dict[int, list[int]] = defaultdict(list)
    for call in trace.calls:
        if call.name in STARTERS and call.result and any("CLONE_THREAD" in a for a in call.args):
            started[call.pid].append(call.result)
    ours, waiting = {pid}, [pid]
    while waiting:
        new = [each for each in started[waiting.pop()] if each not in ours]
        ours.update(new)
        waiting += new
    return ours


def doubts(trace: Trace, subject: SubjectTrace, ending: Ending) -> list[Finding]:
    """Return what makes the trace an unreliable witness, or a false one of the subject's end."""
    found = []
    if trace.unknown:
        text = f"{trace.unknown} lines of the trace are not strace's, such as {trace.quoted[0]!r}."
        found.append(Finding(Code.TRACE_UNREADABLE, text))
    if subject.unread:
        text = f"{len(subject.unread)} calls of the trace make no sense, such as "
        found.append(Finding(Code.TRACE_UNREADABLE, f"{text}{subject.unread[0]!r}."))
    if not (subject.programs or subject.killed_in_exec):
        text = "The trace does not show the start of the subject."
        found.append(Finding(Code.TRACE_INCOMPLETE, text))
    if subject.after_end:
        text = f"The trace says `{subject.after_end}` after the end of the subject."
        found.append(Finding(Code.TRACE_AFTER_END, text))
    how = f"exited with {ending.status}"
    if ending.signal:
        how = f"killed by {_signal_name(ending.signal)}"
    if not subject.ending:
        found.append(Finding(Code.TRACE_INCOMPLETE, "The trace ends before the subject."))
    elif subject.ending.removesuffix(" (core dumped)") != how:
        text = f"The trace says `{subject.ending}`; the agent saw `{how}`."
        found.append(Finding(Code.TRACE_VS_ENDING, text))
    return found


def last_refusal(trace: Trace, pid: int) -> str:
    """Return the last request for memory that was refused to the subject or to a process that it
    started; empty if none was.
    """
    refused = RefusedCalls()
    executed = int(trace.by_agent)  # the agent's own log begins with the subject
    for call in trace.calls:
        executed += call.pid == pid and call.name == "execve" and call.result == 0
        if executed > 1:
            _note_refusal(refused, call)
    return refused.last


def _note_refusal(refused: RefusedCalls, call: Call) -> None:
    try:
        if one := refused_call(call):
            refused.add(one)
    except (ValueError, IndexError):
        return  # follow_subject() counts it as unread


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT_{number - 32}"


_EXECS = frozenset({"execve", "execveat"})


def _text(quoted: str) -> str:
    return quoted.strip('"')
