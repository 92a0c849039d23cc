"""The directory in which the examples of one page are executed, with what the pages take for granted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pexpect

from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64
from tests.host_compiler import dynamic_compiler

SECONDS = 3600  # of one command: those of weekly blocks build kernels
HOME = "/home/you"  # how the pages call the directory
_HERE = Path(__file__).parent
_FILES = (
    "server",
    "checksum",
    "linux",
    "reproducer",
    "config.toml",
    "images.tar.zst",
    "config",
    "riscv64/server",
    "mine.toml",
)
_PROMPT = re.compile(r"^(\(gdb\)|[\w.-]+:\S*[#$]) (.+)$")
_LAUNCHER = """\
#!/bin/sh
{program} exec {python} -m foothold_lab.harness.cli "$@"
"""


@dataclass(frozen=True)
class Workspace:
    """A home directory with a launcher, programs, and a history of its own."""

    path: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of the commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        return (
            kept
            | {
                "HOME": str(self.path),
                "PATH": f"{self.path / '.bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "FOOTHOLD_CACHE": str(Builder().cache.root),
                "FOOTHOLD_HISTORY": str(self.path / ".history.db"),
                "PYTHONPATH": str(_HERE.parents[1] / "src"),
                "DOCKER_HOST": "unix:///nonexistent/docker.sock",  # the pages show a machine without Docker
                "COLUMNS": "200",
                "TERM": "dumb",
            }
        )

    def run(self, command: str) -> tuple[int, str]:
        """Run a command line; return its exit status and both outputs, as a terminal shows them."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.path, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, self._readable(done.stdout.decode())

    def converse(self, command: str, lines: Sequence[str]) -> tuple[int, str]:
        """Run a command on a terminal and type what follows the prompts of a session."""
        typed = [(match[1], match[2]) for line in lines if (match := _PROMPT.match(line))]
        terminal: pexpect.spawn[str] = pexpect.spawn(
            "bash", ["-c", command], cwd=str(self.path), env=self.environment(), encoding="utf-8",
            timeout=60, dimensions=(50, 200),
        )  # fmt: skip
        seen = ""
        for prompt, line in typed:
            terminal.expect_exact(f"{prompt} ")
            seen += f"{terminal.before}{prompt} "
            terminal.sendline(line)
        if typed:
            terminal.expect_exact(f"{typed[-1][0]} ")
            seen += terminal.before or ""
            terminal.sendeof()
        terminal.expect(pexpect.EOF)
        if not typed:
            seen += terminal.before or ""
        terminal.wait()
        status = terminal.exitstatus
        return -1 if status is None else status, self._readable(seen.replace("\r", ""))

    def _readable(self, text: str) -> str:
        return text.replace(str(self.path), HOME)


def needs_terminal(lines: Sequence[str]) -> bool:
    """Does a session type at a prompt of what it started?"""
    return any(_PROMPT.match(line) for line in lines)


def lay_out(path: Path) -> Workspace:
    """Make a workspace whose programs are placeholders, to check command lines."""
    path.mkdir(parents=True, exist_ok=True)
    (path / ".bin").mkdir()
    for place, program in ((path, "FOOTHOLD_PROGRAM=./foothold"), (path / ".bin", "")):
        launcher = place / "foothold"
        launcher.write_text(_LAUNCHER.format(program=program, python=sys.executable))
        launcher.chmod(0o755)
    for name in _FILES:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o755)
    return Workspace(path)


def fill(workspace: Workspace, builder: Builder) -> None:
    """Put real programs and a real kernel into a workspace. The programs are static: a libc of this machine
    would show in their mappings.
    """
    compiler = dynamic_compiler(builder, AMD64)
    for name in ("server", "checksum"):
        program = workspace.path / name
        subprocess.run([*compiler, "-static", "-o", program, _HERE / f"{name}.c"], check=True)
    (workspace.path / "linux").unlink()
    (workspace.path / "linux").symlink_to(builder.image("uml-bookworm") / "linux")
