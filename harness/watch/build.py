"""The command that makes the program."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError

MOST_LINES = 400  # of the output that are kept
_LONGEST_LINE = 1 << 16  # bytes


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """How the command ended. `output` has its last lines, `end` the time of its end."""

    status: int
    seconds: float
    output: tuple[str, ...]
    end: float  # of the monotonic clock


@dataclass(frozen=True, kw_only=True)
class Build:
    """A command that runs in a directory.

    `agent` keeps its processes: they end with this process, however it ends.
    """

    argv: tuple[str, ...]
    directory: Path
    agent: Path

    def run(self) -> BuildResult:
        """Run the command to its end. Raises UsageError if the command does not exist."""
        started = time.monotonic()
        owned, owner = os.pipe()
        try:
            process = self._start(owned)
        finally:
            os.close(owned)
        lines: deque[str] = deque(maxlen=MOST_LINES)
        try:
            assert process.stdout
            while line := process.stdout.readline(_LONGEST_LINE):
                lines.append(line.decode(errors="replace").rstrip("\n"))
            status = process.wait()
        finally:
            os.close(owner)  # the agent ends what is left
            process.wait()
        end = time.monotonic()
        return BuildResult(status=status, seconds=end - started, output=tuple(lines), end=end)

    def _start(self, owned: int) -> subprocess.Popen[bytes]:
        name = self.argv[0]
        program = shutil.which(str(self.directory / name) if "/" in name else name)
        if not program:
            raise UsageError(
                f"the command {name} does not exist", "give a command that is in PATH, or its path"
            )
        return subprocess.Popen(
            [self.agent, "keep", "--owner", str(owned), "--", program, *self.argv[1:]],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which ends the command
            pass_fds=(owned,),
        )
