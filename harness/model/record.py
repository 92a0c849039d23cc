"""What was seen of one supervised program: bytes and numbers, no opinion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class Window:
    """The size of a terminal, in characters."""

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True)
class Supervision:
    """How a program is started and watched. `directory` is where it starts, empty: anywhere; `root`
    the directory that it has for its root, empty: the guest's own. With a `terminal` it has one of
    that size instead of pipes.

    After `patience` seconds, if given, its maps are read as the moment `running`, and it is ended;
    likewise as soon as a line of its output matches the regular expression `says`. If it is traced
    and `last` is wanted, it is held before it ends by itself, and its maps are those of the `end`.
    """

    trace: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""
    root: str = ""
    timeout: float | None = None
    terminal: Window | None = None
    ready_pattern: str = ""
    last: bool = False


UNTRACED = Supervision()


@dataclass(frozen=True)
class Ending:
    """How a program ended, as the agent saw it. Times in seconds, memory in bytes.

    `status` is -1 if a signal ended it, `outlived` counts processes that had to be killed after it.
    """

    status: int
    signal: int = 0
    wall: float = 0.0
    user: float = 0.0
    system: float = 0.0
    max_rss: int = 0
    minor_faults: int = 0
    outlived: int = 0


@dataclass(frozen=True)
class Record:
    """One program, from its start to its end.

    `maps` is /proc/PID/maps as the agent read it while the program was held, by the moment
    (`reserved`, `end`, `running`). `trace` is what strace wrote of its system calls, None if nobody
    traced it. `emulator` is what an emulator that ran the program said of its calls and pages, None
    without one; `maps` are that emulator's (harness/evidence/emulator.py).
    `cut` names what was bounded: `stdout`, `stderr`, `trace`. `running` says that we ended it when
    our patience was at its end, or that it had `said` what it says when it has started.
    """

    argv: tuple[str, ...]
    pid: int
    ending: Ending
    stdout: bytes
    stderr: bytes
    maps: Mapping[str, str] = field(default_factory=dict)
    trace: bytes | None = None
    emulator: bytes | None = None
    cut: tuple[str, ...] = ()
    seconds: float = 0.0
    running: bool = False
    said: bool = False

    def write(self, directory: Path, output: str = "stdout.jsonl") -> None:
        """Write it into a directory of its own, a file for each kind of evidence."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / output).write_bytes(self.stdout)
        (directory / "ending.json").write_bytes(msgspec.json.encode(self.ending))
        (directory / "stderr").write_bytes(self.stderr)
        if self.emulator is not None:  # which the trace is made of
            (directory / "emulator.log").write_bytes(self.emulator)
        elif self.trace is not None:
            (directory / "strace").write_bytes(self.trace)
        for moment, maps in self.maps.items():
            # a moment's name comes from the guest: \w only, see supervised.py
            (directory / f"maps-{moment}").write_text(maps)
