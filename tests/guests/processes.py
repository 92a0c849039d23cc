"""Processes that a test started, found by a word of their command line."""

from __future__ import annotations

import os
import time
from pathlib import Path


def with_word(word: str) -> dict[int, str]:
    """The command lines of all other processes that have a word in it, by process id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line and process.name != str(os.getpid()):
            found[int(process.name)] = line.replace(b"\0", b" ").decode(errors="replace")
    return found


def living(directory: Path) -> list[str]:
    """The command lines of all processes that name this run's directory."""
    return list(with_word(str(directory)).values())


def wait_until_gone(directory: Path, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := living(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
