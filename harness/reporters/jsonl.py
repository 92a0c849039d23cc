"""All events as lines of JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from foothold_lab.harness.model.escape import escape_json
from foothold_lab.harness.model.events import AnyEvent


class JsonLinesReporter:
    """Appends each event to a file without a buffer, so that others can follow the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def __call__(self, event: AnyEvent) -> None:
        """Append the event."""
        self._file.write(escape_json(msgspec.json.encode(event)) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
