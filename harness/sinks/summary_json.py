"""The whole run as one JSON document, for programs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from harness import __version__
from harness.cells import Cell
from harness.events import AnyEvent
from harness.sinks.files import write_whole
from harness.sinks.result import RunResult

SCHEMA = 1


class SummaryJson:
    """Writes the document when the run is over; `-` is standard output.

    Its shape: `schema`, `foothold` (version), `run`, `plan`, `command`, `directory`, `started`
    (seconds since the epoch), `seconds`, `interrupted`, `counts` (cells by result), `guests` (by
    name: `argv`, `seconds`, `facts`, `provenance`, `notes`, `failure`), `cells` (each with `guest`,
    `limits`, `policy`, `subject`, `workload`, `repeat`, `tags` and its `verdict`, null if it was
    not reached).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._result = RunResult()

    def __call__(self, event: AnyEvent) -> None:
        """Take note of an event."""
        self._result(event)

    def close(self) -> None:
        """Write the document."""
        data = msgspec.json.format(msgspec.json.encode(document(self._result)), indent=1) + b"\n"
        if self._path == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_whole(Path(self._path), data)


def document(result: RunResult) -> dict[str, object]:
    """Return a run as what JSON can say, as told in SummaryJson."""
    started, finished = result.started, result.finished
    return {
        "schema": SCHEMA,
        "foothold": __version__,
        "run": started.run if started else "",
        "plan": started.plan if started else "",
        "command": started.command if started else (),
        "directory": started.directory if started else "",
        "started": started.at if started else 0.0,
        "seconds": finished.seconds if finished else None,
        "interrupted": finished.interrupted if finished else True,
        "counts": result.counts,
        "guests": {name: _guest(result, name) for name in result.guests},
        "cells": [_cell(result, cell) for cell in result.cells],
    }


def _guest(result: RunResult, name: str) -> dict[str, object]:
    guest = result.guests[name]
    ready, failed = guest.ready, guest.failed
    return {
        "argv": guest.argv or (failed.argv if failed else ()),
        "seconds": ready.seconds if ready else None,
        "facts": ready.facts if ready else None,
        "provenance": ready.provenance if ready else {},
        "notes": ready.notes if ready else (),
        "failure": failed,
    }


def _cell(result: RunResult, cell: Cell) -> dict[str, object]:
    return {
        "id": cell.id,
        "guest": cell.guest,
        "limits": cell.limits,
        "policy": cell.policy,
        "subject": cell.subject,
        "workload": cell.workload,
        "repeat": cell.repeat,
        "tags": cell.tags,
        "verdict": result.verdicts.get(cell.id),
    }
