"""A subject under the agent's supervision: `agent run` at the other end of a stream.

A subject that holds (it says so in its report) has its maps read and is let go
by one message, so that a hold costs one round trip.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, InfrastructureError, SubjectError
from foothold_lab.harness.model.facts import Facts, parse_facts
from foothold_lab.harness.model.record import UNTRACED, Ending, Record, Supervision
from foothold_lab.harness.transport.frames import Frames, LostContactError, frame
from foothold_lab.harness.transport.stream import Stream

MOST_OUTPUT = 4 << 20  # bytes of stdout, and of stderr, that are kept; the agent passes on 5 MiB
MOST_TRACE = 4 << 20  # bytes of a trace that are kept; 40,000 calls
MOST_LINE = 64 << 10  # bytes of a line without an end that are looked at
OWN_TRACE = "fd:"
OWN_TRACER = "self"  # in the place of strace's path: the agent traces by itself
_HOLD = re.compile(rb'^\{"event": ?"hold", ?"at": ?"(\w{1,32})"\}$', re.MULTILINE)


_T = TypeVar("_T")


class _Pid(msgspec.Struct):
    pid: int


def agent_argv(
    agent: str,
    limits: Limits,
    argv: Sequence[str],
    how: Supervision = UNTRACED,
    strace: str = "",
) -> list[str]:
    """Return the command line of the agent that runs `argv` under `limits`, watched like that.

    `strace` is the path of that program, beside the agent, which is its own tracer where there are
    faults; or OWN_TRACER; or `fd:N`, where the program itself writes to that descriptor what it
    does (an emulator, whose own maps nobody wants at its end).
    """
    words = ["--trace", strace] if how.trace else []
    if how.trace and how.last and not strace.startswith(OWN_TRACE):
        words.append("--last")
    if how.terminal:
        words += ["--terminal", f"{how.terminal.rows}x{how.terminal.columns}"]
    for name, value in how.environment.items():
        words += ["--env", f"{name}={value}"]
    if how.root:
        words += ["--chroot", how.root]
    if how.directory:
        words += ["--chdir", how.directory]
    return [agent, "run", *words, *_options(limits), "--", *argv]


def _options(limits: Limits) -> Iterator[str]:
    """The agent's words for limits: images/agent/limits.c and faults.c."""
    for name in ("as", "data", "stack"):
        if (size := getattr(limits, f"rlimit_{name}")) is not None:
            yield from ("--rlimit", f"{name}={size}")
    if limits.memory is not None:
        yield from ("--memory", str(limits.memory))
    if limits.overcommit is not None:
        yield from ("--sysctl", f"vm/overcommit_memory={limits.overcommit}")
    if limits.max_map_count is not None:
        yield from ("--sysctl", f"vm/max_map_count={limits.max_map_count}")
    if limits.no_aslr:
        yield from ("--layout", "fixed")
    if limits.legacy_layout:
        yield from ("--layout", "legacy")
    if limits.ceiling is not None:
        yield from ("--ceiling", hex(limits.ceiling))
    for each in limits.occupied:
        yield from ("--occupy", str(each))
    if limits.hints_ignored:
        yield from ("--ignore-hints", str(limits.hints_ignored))
    for failure in limits.fail:
        yield from ("--fail", f"{failure.call}:{failure.nth}:{failure.number}")


def supervise(
    stream: Stream,
    argv: Sequence[str],
    deadline: Deadline,
    *,
    on_hold: Callable[[str], None] = lambda _: None,
    how: Supervision = UNTRACED,
) -> Record:
    """Run a subject to its end and return what was seen of it.

    At each hold its maps are read, `on_hold` is told, and it goes on. When our patience is at its
    end, or when it has said what it says when it has started, it is ended, its maps having been
    read as those of the moment `running`. Raises SubjectError if it cannot be started, or outlives
    the deadline (it is dead then); InfrastructureError if it cannot be traced; LostContactError if
    the guest goes first.
    """
    return _Supervision(stream, tuple(argv), on_hold, how).run(deadline)


def measured(stream: Stream, deadline: Deadline) -> Facts:
    """Return the facts that an agent says at the other end. Raises GuestError."""
    answer = b""
    try:
        while data := stream.receive(deadline):
            answer += data
    except (OSError, TimeoutError) as error:
        raise GuestError(f"the agent does not answer: {error}") from error
    return parse_facts(answer)


class _Supervision:
    def __init__(
        self,
        stream: Stream,
        argv: tuple[str, ...],
        on_hold: Callable[[str], None],
        how: Supervision,
    ) -> None:
        self._timeout = None if how.timeout is None else Deadline.after(how.timeout)
        self._says = (
            re.compile(how.ready_pattern.encode(), re.MULTILINE) if how.ready_pattern else None
        )
        self._running = self._said = False
        self._stream = stream
        self._argv = argv
        self._on_hold = on_hold
        self._pid = 0
        self._output = {b"o": _Output("stdout"), b"e": _Output("stderr")}
        self._trace: bytearray | None = None
        self._cut: list[str] = []
        self._holds: list[str] = []
        self._maps: dict[str, str] = {}

    def run(self, deadline: Deadline) -> Record:
        started = time.monotonic()
        frames = Frames()
        while True:
            until = self._next(deadline)
            try:
                if until.expired:  # whatever there is still to be read: some never pause
                    raise TimeoutError
                data = self._stream.receive(until)
            except TimeoutError:
                if until is deadline:
                    raise self._endless(started) from None
                self._end()
                continue
            except OSError as error:
                raise LostContactError(str(error)) from error
            if not data:
                raise LostContactError(self._stream.complaint())
            for kind, payload in frames.take(data):
                if kind == b"x":
                    return self._record(decode(payload, Ending), time.monotonic() - started)
                self._frame(kind, payload)

    def _next(self, deadline: Deadline) -> Deadline:
        """Until when to wait: for our patience to end, once, or for the deadline."""
        if self._timeout and not self._running:
            return min(self._timeout, deadline, key=lambda each: each.at)
        return deadline

    def _end(self) -> None:
        """Read the maps of what still runs, and end it."""
        self._running = True
        self._holds.append("running")
        self._tell(b"m", b"")
        self._tell(b"k", b"")

    def _frame(self, kind: bytes, payload: bytes) -> None:
        if kind == b"s":
            self._pid = decode(payload, _Pid).pid
        elif kind == b"f":
            raise self._not_started(payload.decode(errors="replace"))
        elif kind == b"t":
            self._take_trace(payload)
        elif kind == b"m":
            if self._holds:
                self._maps[self._holds.pop(0)] = payload.decode(errors="replace")
        elif kind == b"l":
            self._maps["end"] = payload.decode(errors="replace")
        elif kind in self._output:
            self._take_output(kind, payload)
        else:
            raise LostContactError(f"a frame of kind {kind!r}: this is not our agent")

    def _take_output(self, kind: bytes, payload: bytes) -> None:
        output = self._output[kind]
        lines = output.take(payload)
        if output.cut and output.name not in self._cut:
            self._cut.append(output.name)
        if self._says and not self._running and self._says.search(lines + output.rest):
            self._said = True
            self._end()
        if kind == b"o":
            for match in _HOLD.finditer(lines):
                moment = match[1].decode()
                self._holds.append(moment)
                self._on_hold(moment)
                self._tell(b"m", b"")
                self._tell(b"i", b"\n")

    def _take_trace(self, payload: bytes) -> None:
        self._trace = self._trace or bytearray()
        room = MOST_TRACE - len(self._trace)
        self._trace += payload[:room]
        if len(payload) > room and "trace" not in self._cut:
            self._cut.append("trace")

    def _not_started(self, complaint: str) -> SubjectError | InfrastructureError:
        if self._pid:
            return SubjectError(f"the subject could not be started: {complaint}")
        said = bytes(self._trace or b"").decode(errors="replace").strip()
        return InfrastructureError(
            f"the subject could not be traced: {said[-500:] or 'strace said nothing'}",
            "--no-trace does without",
        )

    def _tell(self, kind: bytes, data: bytes) -> None:
        try:
            self._stream.send(frame(kind, data))
        except OSError as error:
            raise LostContactError(str(error)) from error

    def _endless(self, started: float) -> SubjectError:
        tail = bytes(self._output[b"e"].kept[-500:] or self._output[b"o"].kept[-500:])
        return SubjectError(
            f"the subject was ended: it was still running after {time.monotonic() - started:.1f} s",
            f"its last words: {tail.decode(errors='replace').strip() or 'none'}",
        )

    def _record(self, ending: Ending, seconds: float) -> Record:
        return Record(
            argv=self._argv,
            pid=self._pid,
            ending=ending,
            stdout=bytes(self._output[b"o"].kept),
            stderr=bytes(self._output[b"e"].kept),
            maps=self._maps,
            trace=None if self._trace is None else bytes(self._trace),
            cut=tuple(self._cut),
            seconds=seconds,
            running=self._running,
            said=self._said,
        )


class _Output:
    """What a subject prints on one of its outputs, kept up to a bound."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept = bytearray()
        self.cut = False
        self._seen = 0  # bytes of lines that have been answered

    def take(self, payload: bytes) -> bytes:
        """Keep it; answer the lines that it makes whole, each once."""
        room = MOST_OUTPUT - len(self.kept)
        self.kept += payload[:room]
        self.cut |= len(payload) > room
        end = self.kept.rfind(b"\n", max(0, len(self.kept) - len(payload))) + 1
        lines = bytes(self.kept[self._seen : end])
        self._seen = max(self._seen, end)
        return lines

    @property
    def rest(self) -> bytes:
        """The line that has no end yet."""
        return bytes(self.kept[self._seen :][:MOST_LINE])


def decode(payload: bytes, kind: type[_T]) -> _T:
    """Read what the agent says. Raises LostContactError if it makes no sense."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.MsgspecError as error:
        raise LostContactError(f"the agent speaks nonsense: {error}") from error
