"""A run is one stream of typed events. Whoever wants to know listens; nobody else prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.provenance import Provenance
from foothold_lab.harness.model.verdict import Attempt, Verdict


class Event(msgspec.Struct, frozen=True, tag_field="event", kw_only=True):
    """Something that happened; `at` is seconds since the epoch, filled in by the bus."""

    at: float = 0.0


class RunStarted(Event, frozen=True, tag="run-started"):
    """The cells are known and the run begins. `command` is how it was asked for.

    `subjects` has a hash of each subject by its name, `trace` says whether they are to be traced.
    """

    run: str
    plan: str
    directory: str
    command: tuple[str, ...]
    cells: tuple[Cell, ...]
    provenance: Provenance = Provenance()
    subjects: Mapping[str, str] = {}
    trace: bool = True


class Progress(Event, frozen=True, tag="progress"):
    """Something takes time: a download, a build. `what` is one line; `guest` may be empty. What is
    `passing` is of interest for a moment alone.
    """

    what: str
    passing: bool = False
    guest: str = ""


class GuestBooting(Event, frozen=True, tag="guest-booting"):
    """A guest is about to be started from these images: each with the name of its entry in the
    cache, which holds a hash of all that went into it; of a file of the user's, its own hash.

    `boot` names this one boot, in all events: RUN/guests/BOOT is its directory.
    """

    guest: str
    boot: str = ""
    images: Mapping[str, str] = {}


class GuestReady(Event, frozen=True, tag="guest-ready"):
    """A guest answers; it was started with exactly `argv`.

    `notes` records what is unusual: accelerator, work-arounds. `own_kernel` says whether it runs
    another kernel than this machine.
    """

    guest: str
    seconds: float
    argv: tuple[str, ...]
    facts: Facts
    provenance: dict[str, str]
    notes: tuple[str, ...] = ()
    boot: str = ""
    own_kernel: bool = True


class GuestFailed(Event, frozen=True, tag="guest-failed"):
    """A guest did not boot, or died."""

    guest: str
    code: Code
    message: str
    remedy: str
    blame: str
    console: str
    argv: tuple[str, ...]
    boot: str = ""


class GuestStopped(Event, frozen=True, tag="guest-stopped"):
    """A guest is gone, and nothing of it is left."""

    guest: str
    boot: str = ""


class CellStarted(Event, frozen=True, tag="cell-started"):
    """A cell's subject is about to be started."""

    cell: str


class CellRetried(Event, frozen=True, tag="cell-retried"):
    """A cell did not pass, and will be asked again in a fresh guest."""

    cell: str
    attempt: Attempt
    boot: str = ""


class CellFinished(Event, frozen=True, tag="cell-finished"):
    """A cell has its verdict, from this boot if it came so far."""

    cell: str
    verdict: Verdict
    boot: str = ""


class RunFinished(Event, frozen=True, tag="run-finished"):
    """The run is over; `interrupted` if the user ended it. `counts` is cells by result."""

    seconds: float
    counts: dict[str, int]
    interrupted: bool = False


AnyEvent = (
    RunStarted
    | Progress
    | GuestBooting
    | GuestReady
    | GuestFailed
    | GuestStopped
    | CellStarted
    | CellRetried
    | CellFinished
    | RunFinished
)
Emit = Callable[[AnyEvent], None]
