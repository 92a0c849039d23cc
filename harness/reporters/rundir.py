"""The run directory: the evidence of a run.

RUN/run.json                    the run: cells, command, plan; at the end counts and seconds
RUN/events.jsonl                all events
RUN/guests/BOOT/                console.log (from the guest), command.json, facts.json
RUN/cells/GUEST/LIMITS/SUBJECT/ output, maps and trace (from the runner), verdict.json
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from foothold_lab.harness import __version__
from foothold_lab.harness.model.escape import escape_json
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    GuestFailed,
    GuestReady,
    RunFinished,
    RunStarted,
)
from foothold_lab.harness.reporters.atomic_write import replace_file
from foothold_lab.harness.reporters.jsonl import JsonLinesReporter
from foothold_lab.harness.run_directory import SCHEMA


class RunDirectoryReporter:
    """Writes each file when its content is known."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lines = JsonLinesReporter(directory / "events.jsonl")
        self._started: RunStarted | None = None

    def __call__(self, event: AnyEvent) -> None:
        """Write the files that the event completes."""
        self._lines(event)
        if isinstance(event, RunStarted):
            self._started = event
            self._run(None)
        elif isinstance(event, RunFinished):
            self._run(event)
        elif isinstance(event, GuestFailed):
            self._command(event)
        elif isinstance(event, GuestReady):
            self._command(event)
            self._write(f"guests/{event.boot or event.guest}/facts.json", event.facts)
        elif isinstance(event, CellFinished):
            self._write(f"cells/{event.cell}/verdict.json", event.verdict)

    def close(self) -> None:
        """Close the file of events."""
        self._lines.close()

    def _command(self, event: GuestReady | GuestFailed) -> None:
        if event.argv:
            whole = {"argv": event.argv, "shell": shlex.join(event.argv)}
            self._write(f"guests/{event.boot or event.guest}/command.json", whole)

    def _run(self, finished: RunFinished | None) -> None:
        self._write(
            "run.json",
            {
                "schema": SCHEMA,
                "foothold": __version__,
                "started": self._started,
                "finished": finished,
            },
        )

    def _write(self, name: str, value: object) -> None:
        text = msgspec.json.format(msgspec.json.encode(value), indent=1)
        replace_file(self._directory / name, escape_json(text) + b"\n", private=True)
