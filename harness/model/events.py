"""A run is one stream of typed events. Only the reporters, which receive them, print."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.provenance import Provenance
from foothold_lab.harness.model.verdict import Attempt, Verdict
from foothold_lab.harness.model.workers import WorkerFacts


class Event(msgspec.Struct, frozen=True, tag_field="event", kw_only=True):
    """One event. `at` is in seconds since the epoch; the bus sets it."""

    at: float = 0.0


class RunStarted(Event, frozen=True, tag="run-started"):
    """The run begins with these cells. `command` is its command line.

    `subjects` maps the name of each subject to a hash of it. `trace`: subjects are traced. `shard` is
    the part of the plan, such as `2/4`, empty for all of it; `other_cells` are the cells of the
    other parts.
    """

    run: str
    plan: str
    directory: str
    command: tuple[str, ...]
    cells: tuple[Cell, ...]
    provenance: Provenance = Provenance()
    subjects: Mapping[str, str] = {}
    trace: bool = True
    shard: str = ""
    other_cells: tuple[Cell, ...] = ()


class WorkerJoined(Event, frozen=True, tag="worker-joined"):
    """A worker of the cluster runs cells of this run."""

    worker: WorkerFacts


class WorkerLost(Event, frozen=True, tag="worker-lost"):
    """A worker was lost while it ran cells. They run again elsewhere."""

    worker: str
    reason: str


class Progress(Event, frozen=True, tag="progress"):
    """Something takes time: a download, a build. `what` is one line; `guest` may be empty. A line
    that is `passing` may be overwritten by the next one.
    """

    what: str
    passing: bool = False
    guest: str = ""


class GuestBooting(Event, frozen=True, tag="guest-booting"):
    """A guest is about to be started. `images` maps each image to the name of its entry in the
    cache, which contains a hash of its inputs; a file of the user is mapped to its own hash.
    `packages` has the Debian packages that are in each of these entries, with their versions.

    `boot` names this boot in all events; its directory is RUN/guests/BOOT.
    """

    guest: str
    boot: str = ""
    images: Mapping[str, str] = {}
    packages: Mapping[str, Mapping[str, str]] = {}


class GuestReady(Event, frozen=True, tag="guest-ready"):
    """A guest answers. `argv` is the exact command line that started it.

    `notes` records what is unusual, such as work-arounds. `own_kernel`: its kernel is not that of
    this machine.
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
    """A guest was stopped; no process or file of it is left."""

    guest: str
    boot: str = ""


class CellStarted(Event, frozen=True, tag="cell-started"):
    """A cell's subject is about to be started."""

    cell: str


class CellRetried(Event, frozen=True, tag="cell-retried"):
    """A cell did not pass and will run again in a fresh guest."""

    cell: str
    attempt: Attempt
    boot: str = ""


class CellFinished(Event, frozen=True, tag="cell-finished"):
    """A cell has its verdict. `boot` is the boot that it ran in, empty if it ran in none."""

    cell: str
    verdict: Verdict
    boot: str = ""


class RunFinished(Event, frozen=True, tag="run-finished"):
    """The run is over. `interrupted`: the user ended it. `counts` has the number of cells by result."""

    seconds: float
    counts: dict[str, int]
    interrupted: bool = False


AnyEvent = (
    RunStarted
    | WorkerJoined
    | WorkerLost
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
