"""A run as one JSON document, which `--json` writes. `foothold schema` prints its JSON Schema."""

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
    """A guest: the command line that booted it and its facts, or why it failed.

    `seconds` is the time of its boot. `images` names the store entry of each image it was booted
    from; that name contains a hash of all inputs of the image.
    """

    argv: tuple[str, ...]
    images: dict[str, str]
    seconds: float | None
    facts: Facts | None
    provenance: dict[str, str]
    notes: tuple[str, ...]
    failure: GuestFailed | None


class CellDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A cell and its verdict, which is null if the cell did not run."""

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
    """A run. `started` is in seconds since the epoch. `counts` has the number of cells by result, `flaky`
    the cells whose retry had another result, `subjects` a hash of each subject.
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
    """Return the document of a run, finished or not."""
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
