"""All events as lines of JSON."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from foothold_lab.harness.model.escape import escape_json
from foothold_lab.harness.model.events import AnyEvent


class JsonLinesReporter:
    """Appends each event to a file without a buffer, so that others can follow the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)

    def __call__(self, event: AnyEvent) -> None:
        """Append the event."""
        self._file.write(escape_json(msgspec.json.encode(event)) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
