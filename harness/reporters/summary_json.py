"""The JSON document of a run, for programs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from foothold_lab.harness.model.escape import escape_json
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.reporters.atomic_write import write_whole
from foothold_lab.harness.reporters.json_document import build_document
from foothold_lab.harness.reporters.result import RunResult


class JsonReporter:
    """Writes the document at the end of the run; the path `-` is standard output."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._result = RunResult()

    def __call__(self, event: AnyEvent) -> None:
        """Process an event."""
        self._result(event)

    def close(self) -> None:
        """Write the document."""
        text = msgspec.json.format(msgspec.json.encode(build_document(self._result)), indent=1)
        data = escape_json(text) + b"\n"
        if self._path == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_whole(Path(self._path), data)
