"""Ctrl-C and kill -9 at any moment, and two runs at once: nothing survives, nothing is half."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from images.builder import Builder

RUN = [sys.executable, "-m", "harness.cli", "run", "--guest", "native", "--guest", "uml-bookworm",
       "--guest", "uml-trixie", "--guest", "qemu-x86_64"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def images(builder: Builder) -> None:
    for name in (
        "root",
        "uml-bookworm",
        "uml-trixie",
        "qemu-x86_64",
        "cloud-x86_64",
        "initrd-x86_64",
    ):
        builder.image(name)


def start(directory: Path) -> subprocess.Popen[bytes]:
    """Start a run as the launcher does: Ctrl-C is held back until the program can answer it."""
    return subprocess.Popen(
        [*RUN, "--run-dir", str(directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
    )  # fmt: skip


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


def locks_are_free() -> None:
    from images.cache import default_root

    for lock in (default_root() / "locks").iterdir():
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("delay", [0.1, 0.5, 1.0, 2.0, 3.5])
def test_ctrl_c_ends_everything(tmp_path: Path, delay: float) -> None:
    run = start(tmp_path / "run")
    time.sleep(delay)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode in (0, 130), err.decode()
    assert b"Traceback" not in err + out
    assert wait_until_gone(tmp_path / "run", 5) == []
    locks_are_free()
    record = tmp_path / "run" / "run.json"
    if record.exists():
        json.loads(record.read_text())
    for line in _lines(tmp_path / "run" / "events.jsonl"):
        json.loads(line)


@pytest.mark.parametrize("delay", [0.1, 0.7, 1.5, 3.0])
def test_after_kill_9_no_guest_lives_and_no_lock_stays(tmp_path: Path, delay: float) -> None:
    run = start(tmp_path / "run")
    time.sleep(delay)
    run.kill()
    run.communicate(timeout=60)
    assert wait_until_gone(tmp_path / "run", 10) == []
    locks_are_free()


def test_two_runs_at_once(tmp_path: Path) -> None:
    runs = [start(tmp_path / name) for name in ("one", "two")]
    for run in runs:
        out, err = run.communicate(timeout=200)
        assert run.returncode == 0, (out + err).decode()
        assert b"32 passed" in out


def _lines(path: Path) -> list[str]:
    """Whole lines of a file that may have been cut short, or never begun."""
    return path.read_text().splitlines()[:-1] if path.exists() else []
