"""The record of one supervised program: bytes and numbers, without a judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.secret_values import mask_trace

GuestStateMoments = Literal["", "after", "both"]


@dataclass(frozen=True)
class Window:
    """The size of a terminal, in characters."""

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """How a program is started and watched.

    `directory` is its working directory, empty for any; `root` its root directory, empty for that of
    the guest. With `fresh_directory` its working directory is an empty one of its own, with copies
    of the files in the directory `work_files` of the guest (empty: of none). With `made_directory`
    the harness has made `directory` so. What the program writes there is kept in both cases. With
    `own_root` it gets a root directory of its own, made of `root`, of the tree `overlay`, which is
    laid over it, and of the directory `image` of the guest, which keeps its path. `stdin` is the file
    that is its standard input, empty for a pipe of the harness. `user` is the name or number of the
    user that it runs as, empty for that of the agent. With `refuses_root` that of the agent will do
    too, unless it is root. With a `terminal` it has a terminal of that size instead of pipes.

    After `timeout` seconds, if given, all its threads are stopped, its maps are read at the checkpoint
    `running`, and it is ended; likewise as soon as it is ready: a line of its output matches the
    regular expression `ready_pattern`, it listens on the TCP port `ready_port`, it makes or writes
    `ready_file` (a path as the program sees it), it sends READY=1 as sd_notify(3) does
    (`ready_notify`), or all its threads have waited for an event for `ready_idle` seconds. With
    `trace_files` the trace has the calls that name files instead of those that map memory. With
    `exit_maps`, a traced program is held before it ends by itself, and its maps are read at the
    checkpoint `end`. `guest_state`: what the program may change of its guest is read after it, or
    before and after it. `seccomp` is a filter for its system calls, an array of struct sock_filter.
    """

    trace: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""
    root: str = ""
    fresh_directory: bool = False
    made_directory: bool = False
    work_files: str = ""
    own_root: bool = False
    overlay: str = ""
    image: str = ""
    stdin: str = ""
    user: str = ""
    refuses_root: bool = False
    timeout: float | None = None
    terminal: Window | None = None
    ready_pattern: str = ""
    ready_port: int = 0
    ready_file: str = ""
    ready_notify: bool = False
    ready_idle: float = 0.0
    exit_maps: bool = False
    trace_files: bool = False
    guest_state: GuestStateMoments = ""
    seccomp: bytes = b""

    def under(self, limits: Limits) -> Supervision:
        """Return it with the user that limits name."""
        return replace(self, user=limits.user, refuses_root=False) if limits.user else self

    def started_by(self, uid: int) -> Supervision:
        """Return it with the user that an agent must become that runs as the user `uid`."""
        return replace(self, user="") if self.refuses_root and uid != 0 else self


UNTRACED = Supervision()


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a program ended, as the agent saw it. Times in seconds, memory in bytes.

    `status` is -1 if a signal ended it, `outlived` counts processes that had to be killed after it.
    `taint_before` and `taint_after` are /proc/sys/kernel/tainted.
    """

    status: int
    signal: int = 0
    wall: float = 0.0
    user: float = 0.0
    system: float = 0.0
    max_rss: int = 0
    minor_faults: int = 0
    outlived: int = 0
    taint_before: int = 0
    taint_after: int = 0


@dataclass(frozen=True, kw_only=True)
class Stop:
    """What a program did when the agent stopped it.

    `reason` is the ready condition that the agent saw (`idle`, `port`, `file`, `notify`), or
    `request` (of the harness), or `timeout`. `activity`: it `waits` for events in `calls`; it
    `faults`: page faults without end give it no memory; or it `runs`. `threads` are those of all its
    processes. `complete`: all of them had stopped when its maps were read.
    """

    reason: str
    activity: str = "runs"
    calls: str = ""
    threads: int = 0
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Record:
    """One program, from its start to its end.

    `maps` is /proc/PID/maps by checkpoint (`reserved`, `end`, `running`), as the agent read it while
    the program was held. `trace` is what the tracer wrote, None without one. `emulator` is the log of
    an emulator that ran the program, None without one; `maps` are then those of the emulator
    (harness/evidence/emulator.py). `cut` names what was longer than is kept: `stdout`, `stderr`,
    `trace`, `files`, `checkpoints`, `maps-CHECKPOINT`. `stopped`: it was ended at its timeout, or
    because it was `ready`: a condition of its Supervision was met. `stop` says what it did then, as far
    as the agent could see it. `written` maps the names of files that it wrote into its fresh working
    directory to their contents.
    `guest_state` maps `before` and `after` to what it could have changed of its guest, in lines of
    name, tab and value. `partial`: contact was lost before the end of the program, so `ending` says nothing.
    `page_size` is that of the kernel, in bytes, as the agent read it, or that of the emulator.
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
    stopped: bool = False
    ready: bool = False
    written: Mapping[str, bytes] = field(default_factory=dict)
    stop: Stop | None = None
    guest_state: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False
    page_size: int = 4096

    def write(self, directory: Path, output: str = "stdout.jsonl") -> None:
        """Write it into a directory, one file for each kind of evidence."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / output).write_bytes(self.stdout)
        if not self.partial:
            (directory / "ending.json").write_bytes(msgspec.json.encode(self.ending))
        (directory / "stderr").write_bytes(self.stderr)
        if self.emulator is not None:  # the trace is made from it
            (directory / "emulator.log").write_bytes(self.emulator)
        elif self.trace is not None:
            (directory / "strace").write_bytes(mask_trace(self.trace))
        for checkpoint, maps in self.maps.items():
            # the name comes from the guest: supervised.py allows only \w
            (directory / f"maps-{checkpoint}").write_text(maps)
        for name, content in self.written.items():
            file = directory / "files" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
