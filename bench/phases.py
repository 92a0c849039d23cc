"""Where the time of a cell goes: the seconds between the messages of the agent.

A cell is run as the runner does it, with a stream that notes when each kind of frame arrives first or
last. docs/performance.md says what the phases are.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.guests import CPU, cell, workplace
from foothold_lab.harness.guests.base import BootRecord, Guest
from foothold_lab.harness.guests.catalogue import GuestType, catalogue
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.frames import HEAD_SIZE, HEADER, FrameKind
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.images.builder import Builder

GUESTS = (
    "native", "docker", "bubblewrap", "nspawn", "gvisor", "qemu-user-arm64", "uml-6.1", "uml-6.12",
    "uml-7.2", "qemu-x86_64", "qemu-arm64-16k",
)  # fmt: skip
PHASES = ("boot", "connect", "agent", "load", "allocate", "end", "close", "judge", "cell")


@dataclass
class Arrivals:
    """When a stream was opened and closed, and when frames of each kind arrived first and last."""

    opened: float = 0.0
    first: dict[bytes, float] = field(default_factory=dict)
    last: dict[bytes, float] = field(default_factory=dict)
    closed: float = 0.0


class TimedStream:
    """A stream that notes the arrival of frames."""

    def __init__(self, stream: Stream, arrivals: Arrivals) -> None:
        self._stream = stream
        self._arrivals = arrivals
        self._buffer = bytearray()

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        self._stream.send(data, deadline)

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes, none at the end."""
        data = self._stream.receive(deadline)
        now = time.perf_counter()
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer)
            if len(self._buffer) < (end := HEAD_SIZE + length):
                break
            del self._buffer[:end]
            self._arrivals.first.setdefault(kind, now)
            self._arrivals.last[kind] = now
        return data

    def complaint(self) -> str:
        """Return what the agent said on stderr."""
        return self._stream.complaint()

    def close(self) -> None:
        """End it."""
        self._stream.close()


class TimedGuest:
    """A guest whose programs have a timed stream. All else is that of the guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.name, self.scale = guest.name, guest.scale
        self.paths, self.capabilities = guest.paths, guest.capabilities
        self.boot_record: BootRecord = guest.boot_record
        self.supported, self.boot, self.stop = guest.supported, guest.boot, guest.stop
        self.push, self.pull, self.diagnose = guest.push, guest.pull, guest.diagnose
        self.arrivals = Arrivals()

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """Open a stream of the guest."""
        self.arrivals = Arrivals()
        with self._guest.open(argv, limits, deadline, how) as stream:
            self.arrivals.opened = time.perf_counter()
            yield TimedStream(stream, self.arrivals)
        self.arrivals.closed = time.perf_counter()


def phases(guest: TimedGuest, facts: Facts, question: Cell) -> dict[str, float]:
    """Run a traced cell; return the seconds of each of its phases."""
    started = time.perf_counter()
    cell(guest, facts, question, trace=True)
    ended = time.perf_counter()
    seen = guest.arrivals
    marks = {
        "connect": seen.opened,
        "agent": seen.first[FrameKind.STARTED.value],
        "load": seen.first[FrameKind.STDOUT.value],
        "allocate": seen.last[FrameKind.STDOUT.value],
        "end": seen.last[FrameKind.ENDED.value],
        "close": seen.closed,
        "judge": ended,
    }
    found, before = {"cell": ended - started}, started
    for name, mark in marks.items():
        found[name] = mark - before
        before = mark
    return found


def measure(kind: GuestType, builder: Builder, times: int) -> dict[str, float] | str:
    """Return the medians of the phases in one guest, or why this machine does not have it."""
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        if not (support := guest.supported()).ok:
            return support.reason
        try:
            started = time.perf_counter()
            facts = guest.boot(Deadline.after(120))
            boot = time.perf_counter() - started
            question = Cell(guest=kind.name, limits=Limits(), policy="after")
            timed = TimedGuest(guest)
            rounds = [phases(timed, facts, question) for _ in range(times + 1)][1:]
        finally:
            guest.stop()
    return {
        "boot": boot,
        **{name: statistics.median(one[name] for one in rounds) for name in rounds[0]},
    }


def main(times: int = 7) -> None:
    """Print the table: milliseconds."""
    builder = Builder()
    known = catalogue(builder)
    print(f"guests on processor {CPU}, medians of {times} cells, one boot; milliseconds\n")
    print(f"| guest | {' | '.join(PHASES)} |")
    print("|---|" + "---|" * len(PHASES))
    for name in GUESTS:
        found = measure(known[name], builder, times)
        if isinstance(found, str):
            print(f"| {name} | {found}{' |' * len(PHASES)}", flush=True)
        else:
            figures = (f"{1000 * found[phase]:.0f}" for phase in PHASES)
            print(f"| {name} | {' | '.join(figures)} |", flush=True)
