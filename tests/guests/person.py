"""Somebody at a terminal."""

from __future__ import annotations

import os
import sys
import termios
from pathlib import Path

import pexpect

# busybox asks the terminal where its cursor is, and goes on without an answer
PROMPT = r"[\w.+-]+:\S*[#$] (\x1b\[6n)?$"


class Person:
    """Somebody who has started `foothold` on a terminal of 30 lines and 100 columns."""

    def __init__(self, *words: str, directory: Path) -> None:
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "PS1": "native:$ ",
            "SHELL": "/bin/sh",
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        }
        self.tty: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "foothold_lab.harness.cli", *words],
            encoding="utf-8",
            timeout=60,
            dimensions=(30, 100),
            env=environment,
            cwd=str(directory),
        )
        self.before = termios.tcgetattr(self.tty.child_fd)

    @property
    def now(self) -> list[object]:
        """How the terminal is set."""
        return termios.tcgetattr(self.tty.child_fd)

    def sees(self, pattern: str) -> str:
        """Wait for something, and return what came before it."""
        self.tty.expect(pattern)
        return str(self.tty.before)

    def starts_to_sleep(self) -> None:
        """Start a program that sleeps, and wait until it is in the foreground: a shell ignores Ctrl-Z."""
        self.tty.sendline("sh -c 'echo fore''ground; exec sleep 1000'")
        self.tty.expect_exact("foreground")

    def types(self, line: str, prompt: str = PROMPT) -> str:
        """Type a line, and return what is there before the next prompt."""
        self.tty.sendline(line)
        self.tty.expect_exact(line)
        return self.sees(prompt)

    def leaves(self, line: str = "") -> int:
        """Type a last line, if any, and return the exit status."""
        if line:
            self.tty.sendline(line)
        self.tty.expect(pexpect.EOF)
        self.tty.wait()
        return int(self.tty.exitstatus if self.tty.exitstatus is not None else -1)
