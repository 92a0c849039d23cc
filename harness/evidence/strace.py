"""The third witness: the system calls, as strace wrote them in the guest.

Read strictly: what is not a line that strace writes is counted and quoted, never guessed. Tracer
and harness agree on `-f -a 1` with the log and strace's own complaints in one stream
(images/agent/trace.c). Where a subject has faults, the agent is its tracer, and writes what strace
would, behind a first line that says so (images/agent/told.c).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from foothold_lab.harness.model.ledger import Map, Protect, Remap, Reservation, Step, Unmap
from foothold_lab.harness.model.record import Ending

LONGEST_LINE = 64 << 10  # bytes; strace shortens strings and arrays, so its lines are below 4 KiB
MOST_UNKNOWN = 5  # lines that are quoted
SHOWN = 200  # characters of a line that is quoted

_PID = re.compile(r"(?P<pid>\d{1,10}) +(?P<rest>.*)")
_NAME = r"(?P<name>[a-z_][a-z0-9_]*|\?\?\?)"  # a call that it came too late to look at
_RESULT = (
    r" += (?:(?P<hex>0x[0-9a-f]+)|(?P<number>-?\d+)|(?P<none>\?)(?: <unavailable>)?)"
    r"(?: (?P<errno>E[A-Z0-9]+) \([^()]*\))?(?: \([^()]*\))*"
)
_WHOLE = re.compile(rf"{_NAME}\((?P<args>.*)\){_RESULT}")
# an execve by another thread than the first, whose number it then has
_UNFINISHED = re.compile(
    rf"{_NAME}\((?P<args>.*?) ?<(?:unfinished|detached|pid changed to \d+) \.\.\.>"
)
_RESUMED = re.compile(rf"<\.\.\. {_NAME} resumed>(?P<args>.*)\){_RESULT}")
_NEVER = re.compile(rf"<\.\.\. {_NAME} resumed>(?P<args>.*?) ?<unfinished \.\.\.>\) += \?")
_SIGNAL = re.compile(r"--- (?P<what>SIG\w+ \{.*\}|stopped by SIG\w+) ---")
_END = re.compile(
    r"\+\+\+ (?P<how>exited with (?P<status>\d+)|killed by (?P<signal>SIG\w+)(?: \(core dumped\))?"
    r"|superseded by execve in pid (?P<by>\d+)) \+\+\+"
)
_MODE = re.compile(r"\[ Process PID=\d+ runs in .* mode\. \]")
_AGENT = re.compile(r"agent: Process \d+ attached")
_STRACE = re.compile(r"(?:\S*/)?strace: (?P<what>.*)")


@dataclass(frozen=True)
class Call:
    """A system call that came back. `result` is None if it never did; `errno` a name, or empty.

    `injected`: the tracer gave this answer, or made the call.
    """

    pid: int
    name: str
    args: tuple[str, ...]
    result: int | None
    errno: str
    line: str
    injected: bool = False


@dataclass(frozen=True)
class Trace:
    """A log, read. `endings` says how each process ended, `open` which calls never came back.

    `unknown` counts lines that strace does not write; the first of them are in `quoted`. `said` is
    what strace itself complained of. `by_agent` says that it is not strace who wrote it.
    """

    calls: tuple[Call, ...] = ()
    signals: tuple[str, ...] = ()
    endings: Mapping[int, str] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    unknown: int = 0
    quoted: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    by_agent: bool = False


@dataclass(frozen=True)
class Story:
    """What the trace says of the subject itself, from its own first instruction on.

    `programs` are what it executed, `threads` and `children` how many it started, `unread` calls
    whose arguments make no sense; `ending` is empty if the trace ends before the subject. `pending`
    says that a call was under way at the end which may have changed what is mapped.
    """

    steps: tuple[Step, ...]
    programs: tuple[str, ...]
    threads: int
    children: int
    unread: tuple[str, ...]
    ending: str
    pending: bool = False


def parse_trace(log: bytes) -> Trace:
    """Read what strace wrote. Never raises: what cannot be read is counted in `unknown`."""
    return _Reader().read(log)


class _Reader:
    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._signals: list[str] = []
        self._endings: dict[int, str] = {}
        self._begun: dict[int, tuple[str, str]] = {}  # pid -> (name, the line's first part)
        self._begun_anew: set[int] = set()  # by an execve that has succeeded
        self._unknown: list[str] = []
        self._count = 0
        self._said: list[str] = []
        self._by_agent = False

    def read(self, log: bytes) -> Trace:
        lines = log.split(b"\n")
        cut = lines.pop()
        if lines and _AGENT.fullmatch(lines[0].decode(errors="backslashreplace")):
            self._by_agent = True
            del lines[0]
        for line in lines:
            text = line[:LONGEST_LINE].decode(errors="backslashreplace")
            if len(line) > LONGEST_LINE or not self._line(text):
                self._strange(text)
        if cut:
            self._strange(cut[:LONGEST_LINE].decode(errors="backslashreplace"))
        still = tuple(text[:SHOWN] for _, text in self._begun.values())
        return Trace(
            tuple(self._calls),
            tuple(self._signals),
            self._endings,
            still,
            self._count,
            tuple(self._unknown),
            tuple(self._said),
            self._by_agent,
        )

    def _strange(self, text: str) -> None:
        self._count += 1
        if len(self._unknown) < MOST_UNKNOWN:
            self._unknown.append(text[:SHOWN])

    def _line(self, text: str) -> bool:
        if match := _STRACE.fullmatch(text):
            self._said.append(match["what"][:SHOWN])
            return True
        if not (match := _PID.fullmatch(text)):
            return False
        pid, rest = int(match["pid"]), match["rest"]
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
        """The call that this one has begun, if it has, will not come back. Answer its name."""
        name, first = self._begun.pop(pid, ("", ""))
        if name:
            self._calls.append(Call(pid, name, (), None, "", first[:SHOWN]))
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
        if pid in self._begun_anew:  # strace says what a register happens to hold
            self._begun_anew.discard(pid)
            result, errno = 0, ""
        if errno and result not in (-1, None):
            return False
        injected = match.string.endswith(" (INJECTED)")
        self._calls.append(Call(pid, match["name"], parts, result, errno, line[:SHOWN], injected))
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


def story_of(trace: Trace, pid: int) -> Story:
    """Follow the subject's own address space: its process and threads, from its own execve on.

    strace's log begins with the agent, which sets the limits and then becomes the subject; the
    agent's own with that. Every further execve begins a new address space, and the one before is
    forgotten.
    """
    ours = _threads(trace, pid)
    programs: list[str] = []
    steps: list[Step] = []
    unread: list[str] = []
    threads = children = 0
    executed = int(trace.by_agent)
    for call in trace.calls:
        if call.pid not in ours:
            continue
        if call.name in ("execve", "execveat") and call.result == 0:
            executed += 1
            steps.clear()
            if executed > 1:
                programs.append(_text(call.args[0 if call.name == "execve" else 1]))
        elif call.name in _STARTERS and call.result is not None and call.result > 0:
            if call.result in ours:
                threads += 1
            else:
                children += 1
        elif executed > 1:
            try:
                steps += effects(call)
            except (ValueError, IndexError):
                unread.append(call.line)
    ending = trace.endings.get(pid, "")
    pending = any(
        call.result is None and call.pid in ours and call.name in _PLACING for call in trace.calls
    )
    return Story(tuple(steps), tuple(programs), threads, children, tuple(unread), ending, pending)


def _threads(trace: Trace, pid: int) -> set[int]:
    """Name the process and its threads. They are known before their calls are read: a thread may
    have made its first ones when the call that has started it comes back.
    """
    started = [
        (call.pid, call.result)
        for call in trace.calls
        if call.name in _STARTERS and call.result and any("CLONE_THREAD" in a for a in call.args)
    ]
    ours = {pid}
    while more := {new for old, new in started if old in ours} - ours:
        ours |= more
    return ours


def doubts(trace: Trace, story: Story, ending: Ending) -> list[str]:
    """Say what makes the trace a poor witness, or a false one of the subject's end."""
    found = []
    if trace.unknown:
        found.append(
            f"{trace.unknown} lines of the trace are none that strace writes: {trace.quoted[0]!r}"
        )
    if story.unread:
        found.append(f"{len(story.unread)} calls of the trace make no sense: {story.unread[0]!r}")
    if not story.programs:
        found.append("the trace does not show that the subject was ever started")
    how = f"exited with {ending.status}"
    if ending.signal:
        how = f"killed by {_signal_name(ending.signal)}"
    if not story.ending:
        found.append("the trace ends before the subject")
    elif story.ending.removesuffix(" (core dumped)") != how:
        found.append(f"the trace says {story.ending}; the agent saw it {how}")
    return found


def last_refusal(trace: Trace, pid: int) -> str:
    """Say which request for memory was refused last to the subject or to what it started; empty if
    none was. A heap that brk(2) does not move is refused without an errno.
    """
    executed = 0
    last = ""
    for call in trace.calls:
        executed += call.pid == pid and call.name == "execve" and call.result == 0
        if executed < 2 or call.name not in _ASKING:
            continue
        try:
            asked = _number(call.args[0]) if call.name == "brk" else 0
            if call.errno and call.name == "mmap":
                last = f"mmap, {_mapped(call).reservation}"
            elif call.errno or (call.result is not None and call.result < asked):
                last = call.line
        except (ValueError, IndexError):
            continue
    return last


_ASKING = frozenset({"brk", "mmap", "mremap", "mprotect", "clone", "clone3", "fork", "vfork"})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT_{number - 32}"


_PLACING = frozenset({"mmap", "mmap2", "munmap", "mprotect", "mremap"})
_STARTERS = frozenset({"clone", "clone3", "fork", "vfork"})


def _text(quoted: str) -> str:
    return quoted.strip('"')


def effects(call: Call) -> Iterator[Step]:
    """What a call did to the address space, or that it was refused addresses.

    Raises ValueError or IndexError if its arguments are not those of such a call.
    """
    if call.name in ("mmap", "mmap2") and call.result is not None:
        yield _mapped(call)
    elif call.name == "munmap" and call.result == 0:
        yield Unmap(_number(call.args[0]), _number(call.args[1]), call.line)
    elif call.name == "mprotect" and call.result == 0:
        start, length, bits = call.args
        yield Protect(_number(start), _number(length), _protection(bits), call.line)
    elif call.name == "mremap" and not call.errno and call.result:
        old, size, longer = (_number(each) for each in call.args[:3])
        yield Remap(old, size, call.result, longer, call.line)


def _mapped(call: Call) -> Map:
    asked, length, bits, flags = call.args[:4]
    names = frozenset(each.removeprefix("MAP_") for each in flags.split("|"))
    given = None if call.errno else call.result
    return Map(
        Reservation(
            _number(asked),
            _number(length),
            _protection(bits),
            names,
            given,
            call.errno,
            imposed=call.injected and given is not None,
        ),
        call.line,
    )


def _number(text: str) -> int:
    return 0 if text == "NULL" else int(text, 0)


_PROTECTIONS = frozenset(
    {
        "PROT_NONE",
        "PROT_READ",
        "PROT_WRITE",
        "PROT_EXEC",
        "PROT_GROWSDOWN",
        "PROT_BTI",
        "0x10",  # of arm64's code, the number as qemu-user 7.2 writes it
    }
)


def _protection(bits: str) -> str:
    names = set(bits.split("|"))
    if not names <= _PROTECTIONS:
        raise ValueError(bits)
    letters = (("PROT_READ", "r"), ("PROT_WRITE", "w"), ("PROT_EXEC", "x"))
    return "".join(letter if name in names else "-" for name, letter in letters)
