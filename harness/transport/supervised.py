"""A subject under the agent's supervision: `agent run` at the other end of a stream.

At a checkpoint (an event of its report) the subject waits for a line of input. One message reads its
maps and sends that line, so that a checkpoint costs one round trip.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, TypeVar

import msgspec

from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    FootholdError,
    GuestError,
    InfrastructureError,
    SubjectError,
)
from foothold_lab.harness.model.facts import LARGEST, Facts, parse_facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.ledger import PAGE
from foothold_lab.harness.model.limits import SOFT
from foothold_lab.harness.model.output import MOST_EXPECTED
from foothold_lab.harness.model.patterns import compile_pattern
from foothold_lab.harness.model.record import UNTRACED, Ending, Record, Stop, Supervision
from foothold_lab.harness.transport.arguments import refused_arguments
from foothold_lab.harness.transport.frames import (
    FrameKind,
    Frames,
    LostContactError,
    frame,
    new_key,
    refused_limit,
    unknown_user,
)
from foothold_lab.harness.transport.stream import Stream

MOST_OUTPUT = MOST_EXPECTED  # bytes of stdout, and of stderr, that are kept; the agent sends 5 MiB
MOST_TRACE = 64 << 20  # bytes of a trace that are kept (1,000,000 calls); the agent sends 65 MiB
MOST_LINE = 8 << 10  # bytes of an incomplete line that are searched, each time that it grows
MOST_HOLDS = 100  # checkpoints of a subject that are answered; the allocator has 2
MOST_MAPS = 32 << 20  # bytes of the maps of all checkpoints; the agent sends 8 MiB of each
MOST_STATE = 64 << 10  # bytes of the state of a guest; the agent sends 8 KiB
MOST_WRITTEN = 5 << 20  # bytes of written files that are kept; the agent sends 4 MiB
MOST_FILES = 100  # as many as the agent sends
LONGEST_NAME = 255  # bytes of a part of the name of a file: NAME_MAX
LONGEST_PATH = 2048  # bytes of the name; the directory of the cell is before it, in PATH_MAX
OWN_TRACE = "fifo:"
OWN_TRACER = "self"  # instead of the path of strace: the agent is the tracer
_SUBJECT_ROOT = "/run/subject"  # where a guest of ours makes the root of a subject
WORKING_DIRECTORY = "/run/work"  # of a subject in that root
_RLIMITS = ("as", "data", "stack", "fsize", "memlock", "nofile", "nproc")
_CHECKPOINT = re.compile(rb'^\{"event": ?"hold", ?"at": ?"(\w{1,32})"\}$', re.MULTILINE)


_TOO_LONG = os.strerror(errno.E2BIG)
_T = TypeVar("_T")


class _Started(msgspec.Struct):
    pid: int
    page_size: Annotated[int, msgspec.Meta(ge=4096, le=65536)]


def agent_arguments(
    limits: Limits,
    argv: Sequence[str],
    how: Supervision = UNTRACED,
    strace: str = "",
) -> list[str]:
    """Return the arguments of `agent run` for `argv` under `limits`, supervised as `how`.

    `strace` is its path in the guest (with faults the agent is the tracer instead), or OWN_TRACER, or
    `fifo:PATH`: the program itself writes the trace into a FIFO that the agent makes there. It is an
    emulator then, whose own maps at its exit are of no use.
    """
    words = ["--trace", strace] if how.trace else []
    if how.trace and how.exit_maps and not strace.startswith(OWN_TRACE):
        words.append("--exit-maps")
    if how.trace and how.trace_files:
        words.append("--trace-files")
    if how.terminal:
        words += ["--terminal", f"{how.terminal.rows}x{how.terminal.columns}"]
    for name, value in how.environment.items():
        words += ["--env", f"{name}={value}"]
    if how.guest_state:
        words.append("--guest-state")
    if how.guest_state == "both":
        words.append("--guest-state-before")
    words += _location(how)
    words += _readiness(how)
    if how.user:
        words += ["--user", how.user]
    if how.seccomp:
        words += ["--seccomp", how.seccomp.hex()]
    if how.stdin and not how.terminal:
        words += ["--input", how.stdin]
    return [*words, *_options(limits), "--", *argv]


def _location(how: Supervision) -> Iterator[str]:
    """Yield the options of the agent for root and working directory: images/agent/subject_root.c."""
    if how.own_root:
        yield from ("--subject-root", _SUBJECT_ROOT)
        if how.root:
            yield from ("--base", how.root)
        if how.overlay:
            yield from ("--overlay", how.overlay)
        if how.image:
            yield from ("--image", how.image)
    elif how.root:
        yield from ("--chroot", how.root)
    if how.fresh_directory:
        yield from ("--work", how.directory or WORKING_DIRECTORY)
    elif how.directory:
        yield from ("--chdir", how.directory)
        if how.made_directory:
            yield from ("--written", how.directory)
    if how.work_files:
        yield from ("--work-files", how.work_files)


def _readiness(how: Supervision) -> Iterator[str]:
    """The agent's options for ready conditions: images/agent/readiness.c."""
    if how.ready_idle:
        yield from ("--ready-idle", str(round(how.ready_idle * 1000)))
    if how.ready_port:
        yield from ("--ready-port", str(how.ready_port))
    if how.ready_file:
        yield from ("--ready-file", how.ready_file)
    if how.ready_notify:
        yield "--ready-notify"


def _options(limits: Limits) -> Iterator[str]:
    """Yield the options of the agent for limits: images/agent/subject_limits.c and faults.c."""
    for name in _RLIMITS:
        field = f"rlimit_{name}"
        if (value := getattr(limits, field)) is not None:
            soft = SOFT if field in limits.soft_only else ""
            yield from ("--rlimit", f"{name}={value}{soft}")
    numbers = (
        ("--memory", "", limits.memory),
        ("--sysctl", "vm/overcommit_memory=", limits.overcommit),
        ("--sysctl", "vm/max_map_count=", limits.max_map_count),
        ("--sysctl", "vm/mmap_rnd_bits=", limits.mmap_rnd_bits),
        ("--sysctl", "vm/mmap_rnd_compat_bits=", limits.mmap_rnd_compat_bits),
        ("--sysctl", "vm/nr_hugepages=", limits.hugepages),
    )
    for option, name, number in numbers:
        if number is not None:
            yield from (option, f"{name}{number}")
    for layout, wanted in (("fixed", limits.no_aslr), ("legacy", limits.legacy_layout)):
        if wanted:
            yield from ("--layout", layout)
    if limits.thp:
        yield from ("--thp", limits.thp)
    if limits.wx_refused:
        yield from ("--write-execute", "refused")
    for directory in limits.exec_refused:
        yield from ("--no-exec", directory)
    yield from _fault_options(limits)


def _fault_options(limits: Limits) -> Iterator[str]:
    if limits.ceiling is not None:
        yield from ("--ceiling", hex(limits.ceiling))
    for each in limits.occupied:
        yield from ("--occupy", str(each))
    if limits.hints_ignored:
        yield from ("--ignore-hints", str(limits.hints_ignored))
    for flag, ignored in (
        ("noreplace", limits.noreplace_unknown),
        ("noreserve", limits.noreserve_ignored),
    ):
        if ignored:
            yield from ("--ignore-flag", flag)
    for failure in limits.fail:
        when = f"{failure.nth}/{failure.every}"
        yield from ("--fail", f"{failure.kind}:{when}:{failure.number}")


def supervise(
    stream: Stream,
    argv: Sequence[str],
    deadline: Deadline,
    *,
    on_checkpoint: Callable[[str], None] = lambda _: None,
    how: Supervision = UNTRACED,
) -> Record:
    """Run a subject to its end, and return what was recorded of it.

    At each checkpoint its maps are read, `on_checkpoint` is called with its name, and the subject
    continues. After `how.timeout` seconds, or when it is ready, it is stopped, its maps are read as
    those of the checkpoint `running`, and it is killed. Raises SubjectError if it cannot
    be started, or still runs at the deadline (then it is dead); GuestError if the agent has not started
    it by then; UnsupportedError if the guest refuses a limit; InfrastructureError if it cannot be
    traced; LostContactError if the guest ends first.
    """
    supervision = _Supervision(stream, tuple(argv), on_checkpoint, how, deadline)
    try:
        return supervision.run()
    except (LostContactError, FootholdError) as error:
        error.record = supervision.partial_record()
        raise


def measured(stream: Stream, deadline: Deadline) -> Facts:
    """Return the facts that an agent writes at the other end. Raises GuestError."""
    answer = b""
    try:
        while len(answer) <= LARGEST and (data := stream.receive(deadline)):
            answer += data
    except (OSError, TimeoutError) as error:
        what = f"the agent does not answer: {str(error) or 'the time for it is over'}"
        raise GuestError(what, code=Code.GUEST_PROTOCOL) from error
    return parse_facts(answer)


class _Supervision:
    def __init__(
        self,
        stream: Stream,
        argv: tuple[str, ...],
        on_checkpoint: Callable[[str], None],
        how: Supervision,
        deadline: Deadline,
    ) -> None:
        self._started = time.monotonic()
        self._deadline = deadline
        self._timeout = None if how.timeout is None else Deadline.after(how.timeout)
        self._ready_pattern = (
            compile_pattern(how.ready_pattern, per_line=True) if how.ready_pattern else None
        )
        self._stopped = self._ready = False
        self._stop: Stop | None = None
        self._stream = stream
        self._argv = argv
        self._user = how.user
        self._on_checkpoint = on_checkpoint
        self._pid = 0
        self._page_size = PAGE
        self._output = {FrameKind.STDOUT: _Output("stdout"), FrameKind.STDERR: _Output("stderr")}
        self._trace: bytearray | None = None
        self._cut: list[str] = []
        self._holds: deque[str] = deque()  # the first one was answered, its maps will come
        self._held = 0
        self._maps_of_stop = self._maps_cut = False  # of the next maps
        self._maps: dict[str, str] = {}
        self._guest_state: dict[str, str] = {}
        self._written: dict[str, bytes] = {}

    def run(self) -> Record:
        key = new_key()
        frames = Frames(key)
        self._send(frame(FrameKind.KEY, key))
        while True:
            until = self._next()
            try:
                if until.expired:  # even if there is more to read: some subjects never pause
                    raise TimeoutError
                data = self._stream.receive(until)
            except TimeoutError:
                if until is self._deadline:
                    raise self._past_deadline() from None
                self._end()
                continue
            except OSError as error:
                raise LostContactError(str(error)) from error
            if not data:
                raise LostContactError(self._stream.complaint())
            for kind, payload in frames.take(data):
                if kind == FrameKind.ENDED:
                    return self._record(decode(payload, Ending))
                self._frame(kind, payload)

    def _next(self) -> Deadline:
        """Return until when to wait: the timeout, once, or the deadline."""
        if self._timeout and not self._stopped:
            return min(self._timeout, self._deadline, key=lambda each: each.at)
        return self._deadline

    def _end(self) -> None:
        """Have the agent stop the subject, send its maps, and kill it."""
        self._stopped = True
        self._send(frame(FrameKind.STOP, b""))

    def _take_stop(self, payload: bytes) -> None:
        """The agent has stopped the subject. The maps that follow are those of this moment."""
        stop = decode(payload, Stop)
        self._stopped = True
        self._ready |= stop.reason not in ("request", "timeout")
        self._stop = stop
        self._maps_of_stop = True

    def _frame(self, kind: FrameKind, payload: bytes) -> None:
        handlers: dict[FrameKind, Callable[[bytes], None]] = {
            FrameKind.STARTED: self._take_start,
            FrameKind.FAILED: self._take_failure,
            FrameKind.REFUSED: self._take_refusal,
            FrameKind.UNKNOWN_USER: self._take_unknown_user,
            FrameKind.TRACE: self._take_trace,
            FrameKind.MAPS: self._take_maps,
            FrameKind.STOPPED: self._take_stop,
            FrameKind.EXIT_MAPS: lambda maps: self._keep_maps("end", maps),
            FrameKind.CUT: self._take_cut,
            FrameKind.GUEST_STATE: self._take_guest_state,
            FrameKind.FILE: self._take_file,
        }
        if kind in self._output:
            self._take_output(kind, payload)
        elif kind in handlers:
            handlers[kind](payload)
        else:
            raise LostContactError(f"a frame of kind {kind!r}, which the agent does not send")

    def _take_start(self, payload: bytes) -> None:
        started = decode(payload, _Started)
        self._pid, self._page_size = started.pid, started.page_size

    def _take_failure(self, payload: bytes) -> None:
        raise self._not_started(payload.decode(errors="replace"))

    def _take_refusal(self, payload: bytes) -> None:
        raise refused_limit(payload)

    def _take_unknown_user(self, payload: bytes) -> None:
        raise unknown_user(payload.decode(errors="replace"))

    def _take_cut(self, _: bytes) -> None:
        self._maps_cut = True

    def _take_guest_state(self, payload: bytes) -> None:
        moment, _, values = payload[:MOST_STATE].decode(errors="replace").partition("\n")
        if moment in ("before", "after"):
            self._guest_state[moment] = values

    def _take_maps(self, payload: bytes) -> None:
        """Keep the maps of the oldest checkpoint; none come if the subject had ended before."""
        if self._maps_of_stop:
            self._maps_of_stop = False
            self._keep_maps("running", payload)
        elif self._holds:
            self._keep_maps(self._holds.popleft(), payload)
            if self._holds:
                self._answer_hold()

    def _keep_maps(self, checkpoint: str, payload: bytes) -> None:
        room = MOST_MAPS - sum(map(len, self._maps.values()))
        if len(payload) > room:
            self._maps_cut = True
        elif payload:
            self._maps[checkpoint] = payload.decode(errors="replace")
        if self._maps_cut:
            self._maps_cut = False
            self._note_cut(f"maps-{checkpoint}")

    def _note_cut(self, what: str) -> None:
        if what not in self._cut:
            self._cut.append(what)

    def _take_hold(self, name: str) -> None:
        """Answer a hold when those before it were answered: a subject may hold without waiting."""
        if self._held == MOST_HOLDS:
            self._note_cut("checkpoints")
            return
        self._held += 1
        self._holds.append(name)
        if len(self._holds) == 1:
            self._answer_hold()

    def _answer_hold(self) -> None:
        self._on_checkpoint(self._holds[0])
        # in one piece: two would become two packets of SSH
        self._send(frame(FrameKind.MAPS, b"") + frame(FrameKind.INPUT, b"\n"))

    def _take_output(self, kind: FrameKind, payload: bytes) -> None:
        output = self._output[kind]
        lines = output.take(payload)
        if output.cut:
            self._note_cut(output.name)
        if (
            self._ready_pattern
            and not self._stopped
            and self._ready_pattern.matches(lines + output.rest)
        ):
            self._ready = True
            self._end()
        if kind == FrameKind.STDOUT:
            for match in _CHECKPOINT.finditer(lines):
                self._take_hold(match[1].decode())

    def _take_file(self, payload: bytes) -> None:
        """Keep a written file. The guest chose its name, which need not be UTF-8.

        A name that leads elsewhere is dropped, and one that is a directory of another file.
        """
        encoded, _, content = payload.partition(b"\0")
        parts = encoded.split(b"/")
        room = MOST_WRITTEN - sum(map(len, self._written.values()))
        is_long = len(encoded) > LONGEST_PATH or max(map(len, parts)) > LONGEST_NAME
        if not encoded or is_long or len(content) > room or len(self._written) == MOST_FILES:
            self._note_cut("files")
        elif not {b"", b".", b".."} & set(parts):
            name = os.fsdecode(encoded)
            if not any(f"{each}/".startswith(f"{name}/") or f"{name}/".startswith(f"{each}/")
                       for each in self._written):  # fmt: skip
                self._written[name] = content

    def _take_trace(self, payload: bytes) -> None:
        self._trace = self._trace or bytearray()
        room = MOST_TRACE - len(self._trace)
        self._trace += payload[:room]
        if len(payload) > room:
            self._note_cut("trace")

    def _not_started(self, complaint: str) -> FootholdError:
        printed = bytes(self._trace or b"").decode(errors="replace").strip()
        if _TOO_LONG in (complaint if self._pid else printed):
            return refused_arguments(self._argv)
        if self._pid:
            what = f"the subject could not be started: {complaint}"
            return SubjectError(what, self._remedy(complaint), code=Code.SUBJECT_NOT_STARTED)
        return InfrastructureError(
            f"the subject could not be traced: {printed[-500:] or 'strace printed nothing'}",
            "--no-trace runs it without a tracer",
            code=Code.INFRASTRUCTURE_TRACER,
        )

    def _remedy(self, complaint: str) -> str:
        if not self._user or os.strerror(errno.EACCES) not in complaint:
            return ""
        return (
            f"let the user `{self._user}` search each directory of this path and execute the program "
            f"(`namei -l {self._argv[0]}` lists their permissions), or leave --user out"
        )

    def _send(self, frames: bytes) -> None:
        """Send frames, unless the agent has ended: then its last frames can still be read.

        Raises SubjectError at the deadline, GuestError if the subject has not been started by then.
        """
        try:
            self._stream.send(frames, self._deadline)
        except TimeoutError:
            raise self._past_deadline() from None
        except OSError:
            pass

    def _past_deadline(self) -> FootholdError:
        if not self._pid:
            return GuestError(
                f"the subject was not started within {self._seconds:.1f} s, until the deadline of the cell",
                code=Code.GUEST_NOT_STARTED,
            )
        tail = bytes(
            self._output[FrameKind.STDERR].kept[-500:] or self._output[FrameKind.STDOUT].kept[-500:]
        )
        return SubjectError(
            f"the subject was killed: it was still running after {self._seconds:.1f} s",
            f"its last output: {tail.decode(errors='replace').strip() or 'none'}",
            code=Code.SUBJECT_DEADLINE,
        )

    def partial_record(self) -> Record:
        """Return what was recorded so far of a program whose end was not seen."""
        return replace(self._record(Ending(status=-1)), partial=True)

    @property
    def _seconds(self) -> float:
        """How long the program has been supervised."""
        return time.monotonic() - self._started

    def _record(self, ending: Ending) -> Record:
        return Record(
            argv=self._argv,
            pid=self._pid,
            ending=ending,
            stdout=bytes(self._output[FrameKind.STDOUT].kept),
            stderr=bytes(self._output[FrameKind.STDERR].kept),
            maps=self._maps,
            trace=None if self._trace is None else bytes(self._trace),
            cut=tuple(self._cut),
            seconds=self._seconds,
            stopped=self._stopped,
            ready=self._ready,
            written=self._written,
            stop=self._stop,
            guest_state=self._guest_state,
            page_size=self._page_size,
        )


class _Output:
    """What a subject prints on one of its outputs, kept up to a bound."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept = bytearray()
        self.cut = False
        self._seen = 0  # bytes of lines that take() has returned

    def take(self, payload: bytes) -> bytes:
        """Keep the bytes. Returns the lines that they complete, each once."""
        room = MOST_OUTPUT - len(self.kept)
        self.kept += payload[:room]
        self.cut |= len(payload) > room
        end = self.kept.rfind(b"\n", max(0, len(self.kept) - len(payload))) + 1
        lines = bytes(self.kept[self._seen : end])
        self._seen = max(self._seen, end)
        return lines

    @property
    def rest(self) -> bytes:
        """The last line, which is not complete yet; empty if it is longer than MOST_LINE."""
        short = len(self.kept) - self._seen <= MOST_LINE
        return bytes(self.kept[self._seen :]) if short else b""


def decode(payload: bytes, kind: type[_T]) -> _T:
    """Parse a payload of the agent. Raises LostContactError if it is invalid."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LostContactError(f"the agent sent an invalid message: {error}") from error
