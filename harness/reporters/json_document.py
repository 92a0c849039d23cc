"""A whole run as one document: what `--json` writes. `foothold schema` prints its JSON Schema."""

from __future__ import annotations

from typing import Literal

import msgspec

from foothold_lab.harness import __version__
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.events import GuestFailed
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.provenance import Provenance
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.reporters.result import RunResult

SCHEMA: Literal[2] = 2


class GuestDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A guest: the command line that booted it, and what it was like; or why it was not to be had.

    `seconds` is how long its boot took, `images` what it was booted from, each with the name of its
    entry in the cache, which holds a hash of all that went into it.
    """

    argv: tuple[str, ...]
    images: dict[str, str]
    seconds: float | None
    facts: Facts | None
    provenance: dict[str, str]
    notes: tuple[str, ...]
    failure: GuestFailed | None


class CellDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A cell, and what it came to; no verdict if it was not reached."""

    id: str
    guest: str
    limits: Limits
    policy: str
    subject: str
    workload: str
    repeat: int
    tags: tuple[str, ...]
    verdict: Verdict | None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `started` is in seconds since the epoch, `counts` are cells by result, `flaky` those
    that came to something else when they were asked again; `subjects` has a hash of each.
    """

    schema: Literal[2]
    foothold: str
    run: str
    plan: str
    command: tuple[str, ...]
    directory: str
    started: float
    seconds: float | None
    interrupted: bool
    counts: dict[str, int]
    flaky: tuple[str, ...]
    provenance: Provenance
    subjects: dict[str, str]
    guests: dict[str, GuestDocument]
    cells: tuple[CellDocument, ...]


def build_document(result: RunResult) -> Document:
    """Return a run, however far it came, as what JSON can say."""
    started, finished = result.started, result.finished
    return Document(
        schema=SCHEMA,
        foothold=__version__,
        run=started.run if started else "",
        plan=started.plan if started else "",
        command=started.command if started else (),
        directory=started.directory if started else "",
        started=started.at if started else 0.0,
        seconds=finished.seconds if finished else None,
        interrupted=finished.interrupted if finished else True,
        counts=result.counts,
        flaky=tuple(name for name, verdict in result.verdicts.items() if verdict.flaky),
        provenance=started.provenance if started else Provenance(),
        subjects=dict(started.subjects) if started else {},
        guests={name: _guest(result, name) for name in result.guests},
        cells=tuple(_cell(result, cell) for cell in result.cells),
    )


def _guest(result: RunResult, name: str) -> GuestDocument:
    guest = result.guests[name]
    ready, failed = guest.ready, guest.failed
    return GuestDocument(
        argv=guest.argv or (failed.argv if failed else ()),
        images=dict(guest.images),
        seconds=ready.seconds if ready else None,
        facts=ready.facts if ready else None,
        provenance=dict(ready.provenance) if ready else {},
        notes=ready.notes if ready else (),
        failure=failed,
    )


def _cell(result: RunResult, cell: Cell) -> CellDocument:
    return CellDocument(
        id=cell.id,
        guest=cell.guest,
        limits=cell.limits,
        policy=cell.policy,
        subject=cell.subject,
        workload=cell.workload,
        repeat=cell.repeat,
        tags=tuple(cell.tags),
        verdict=result.verdicts.get(cell.id),
    )
