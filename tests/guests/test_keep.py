"""Guests that a run keeps: a shell from another terminal works in the same guest until it ends."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guests.conftest import Sit
from tests.guests.person import PROMPT

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
# UML 6.1 cannot grant the address: the cell fails, natively it passes
WRONG = ("--limit", "none", "--policy", "after", "--expect", "path:high")


@pytest.mark.uml
def test_the_guest_of_a_failed_cell_is_kept(sit: Sit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    runner = sit(
        "run",
        "--guest",
        "uml-6.1",
        "--guest",
        "native",
        *WRONG,
        "--keep-guests",
        "failed",
        "--run-dir",
        str(run),
    )
    runner.sees(r"uml-6.1 is kept: foothold shell \S+/uml-6.1")
    runner.sees("kept guests end on Enter or on Ctrl-C")
    assert stat.S_IMODE((run / "guests.socket").stat().st_mode) == 0o600
    assert json.loads((run / "run.json").read_text())["finished"]["counts"] == {
        "pass": 1,
        "fail": 1,
    }

    visitor = sit("shell", f"{run}/uml-6.1")
    visitor.sees(PROMPT)
    assert "30 100" in visitor.types("stty size")
    visitor.tty.setwinsize(40, 90)
    assert "40 90" in visitor.types("stty size")
    assert "6.1" in visitor.types("uname -r")
    visitor.types("echo mine > /tmp/left")
    assert visitor.leaves("exit 3") == 3

    done = subprocess.run(
        [*FOOTHOLD, "shell", f"{run}/uml-6.1", "--limit", "rlimit_as=300M", "--",
         "sh", "-c", "cat; cat /tmp/left; ulimit -v; exit 4"],
        input="in\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "in\nmine\n307200\n")

    for guest, complaint in (("native", "native is not kept"), ("uml-6.1", "unknown limit")):
        limit = ("--limit", "none") if guest == "native" else ("--limit", "nonsense")
        refused = subprocess.run(
            [*FOOTHOLD, "shell", f"{run}/{guest}", *limit], capture_output=True, text=True
        )
        assert refused.returncode == 2
        assert complaint in refused.stderr

    other = sit("shell", f"{run}/uml-6.1")
    other.sees(PROMPT)
    assert runner.leaves("\n") == 1
    assert other.leaves() == 3  # its guest has gone under it
    assert not (run / "guests.socket").exists()
    gone = subprocess.run([*FOOTHOLD, "shell", f"{run}/uml-6.1"], capture_output=True, text=True)
    assert gone.returncode == 2
    assert "keeps no guest, or no longer" in gone.stderr


def test_keeping_guests_without_a_terminal_needs_a_time_limit(tmp_path: Path) -> None:
    command = [*FOOTHOLD, "run", "--guest", "native", "--limit", "none", "--keep-guests", "all",
               "--run-dir", str(tmp_path / "run")]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--keep-for 600" in done.stderr
    assert not (tmp_path / "run").exists()
    done = subprocess.run(
        [*command, "--keep-for", "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    assert "native is kept" in done.stderr
    assert "kept guests end after 1 s" in done.stderr
