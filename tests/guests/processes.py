"""Processes that a run started, found by the directory that they name."""

from __future__ import annotations

import os
import time
from pathlib import Path


def living(directory: Path) -> list[str]:
    """The command lines of all processes that name this run's directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in line and process.name != str(os.getpid()):
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def wait_until_gone(directory: Path, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := living(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
