"""What is kept of a cell, for whoever wants to look: files that docs/reading-a-verdict.md names."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.record import Record


def keep(record: Record, directory: Path) -> None:
    """Write what was seen of a subject into its cell's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "stdout.jsonl").write_bytes(record.stdout)
    (directory / "ending.json").write_bytes(msgspec.json.encode(record.ending))
    (directory / "stderr").write_bytes(record.stderr)
    if record.emulator is not None:  # which the trace is made of
        (directory / "emulator.log").write_bytes(record.emulator)
    elif record.trace is not None:
        (directory / "strace").write_bytes(record.trace)
    for moment, maps in record.maps.items():
        # a moment's name comes from the guest: \w only, see supervised.py
        (directory / f"maps-{moment}").write_text(maps)
