"""A terminal or a pipe that is closed while a command writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
COMMANDS = (("findings",), ("plan", "nightly"), ("help", "run"), ("show", "nowhere/at/all"))


def with_closed_terminal(
    command: Sequence[str], state: Path, *, hang_up: bool
) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose terminal is closed: before it writes, or, with SIGHUP, while it does."""
    master, slave = os.openpty()
    ready, go = os.pipe()
    take = "fcntl.ioctl(1, termios.TIOCSCTTY, 0)" if hang_up else f"os.read({ready}, 1)"
    start = f"import fcntl,os,sys,termios; {take}; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *FOOTHOLD, *command],
        stdin=slave, stdout=slave, stderr=slave, pass_fds=(ready,), start_new_session=True,
        env={**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    if hang_up:
        os.read(master, 1)
    os.close(master)
    os.write(go, b"x")
    for descriptor in (ready, go):
        os.close(descriptor)
    return subprocess.CompletedProcess(command, process.wait(120))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_closed_terminal_is_not_a_finding(command: tuple[str, ...], tmp_path: Path) -> None:
    done = with_closed_terminal(command, tmp_path, hang_up=False)
    assert done.returncode in (141, 2), "2: the command line was wrong, which was known before"
    assert (done.returncode == 2) is (command[0] == "show")
    assert not list(tmp_path.rglob("crashes"))


def test_a_hang_up_is_an_interruption(tmp_path: Path) -> None:
    # its output is larger than the buffer of a terminal, so it still writes at that moment
    done = with_closed_terminal(("plan", "nightly"), tmp_path, hang_up=True)
    assert done.returncode in (130, 141), "SIGHUP, or the error of the terminal"
    assert not list(tmp_path.rglob("crashes"))


@pytest.mark.guests
@pytest.mark.parametrize("words", [(), ("--quiet",), ("--json", "-")], ids=" ".join)
def test_a_run_whose_terminal_is_closed_is_complete(words: tuple[str, ...], tmp_path: Path) -> None:
    command = ("run", "--guest", "native", "--subject", "/bin/true", "--limit", "none",
               "--run-dir", str(tmp_path / "run"), "--no-history", *words)  # fmt: skip
    done = with_closed_terminal(command, tmp_path, hang_up=False)
    assert done.returncode in (0, 141, 3), "3: a report that was asked for was not written"
    assert (tmp_path / "run/cells/native/none/true/verdict.json").is_file()
    assert not list(tmp_path.rglob("crashes"))


@pytest.mark.parametrize("command", COMMANDS[:3], ids=" ".join)
def test_a_pipe_without_a_reader_is_not_a_finding(command: tuple[str, ...], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*FOOTHOLD, *command], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 141
    assert not list(tmp_path.rglob("crashes"))
