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

from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import State
from foothold_lab.images.builder import Builder
from tests.guests.processes import living, wait_until_gone

RUN = [sys.executable, "-m", "foothold_lab.harness.cli", "run", "--guest", "native", "--guest", "uml-bookworm",
       "--guest", "uml-trixie", "--guest", "qemu-x86_64"]  # fmt: skip
CELLS = 16


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
        [*RUN, "--run-dir", str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
    )


def locks_are_free() -> None:
    from foothold_lab.images.cache import default_root

    for lock in (default_root() / "locks").iterdir():
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("delay", [0.1, 0.5, 1.0, 2.0, 3.5])
def test_ctrl_c_stops_all_guests(tmp_path: Path, delay: float, history: Path) -> None:
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
    events = [json.loads(line) for line in _lines(tmp_path / "run" / "events.jsonl")]
    if not events:
        return
    kept = recorded(history)
    verdicts = {each["cell"] for each in events if each["event"] == "cell-finished"}
    assert {cell.name for cell in kept.cells if cell.result} == verdicts
    assert not [cell for cell in kept.cells if cell.is_bad], "what was cut off is no failure"
    if run.returncode == 130:
        assert kept.run.state is State.INTERRUPTED
        told = f"interrupted: {len(verdicts)} done, {len(kept.cells) - len(verdicts)} not"
        assert told in out.decode()


ENDLESS = """\
schema = 1
name = "endless"
[axes]
guests = ["GUEST"]
limits = ["none"]
subjects = ["endless"]
[subject.endless]
program = "/bin/sh"
args = ["-c", "sleep 1000; echo ready"]
ready_pattern = "ready"
timeout = 1000
expect = "starts"
"""


@pytest.mark.parametrize(
    "guest", ["native", "uml-bookworm", "bubblewrap", "nspawn", "gvisor", "docker", "podman"]
)
def test_ctrl_c_ends_a_program_that_does_not_end(tmp_path: Path, guest: str) -> None:
    plan, directory = tmp_path / "endless.toml", tmp_path / "run"
    plan.write_text(ENDLESS.replace("GUEST", guest))
    words = [*RUN[:4], str(plan), "--run-dir", str(directory), "--no-history"]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    events = directory / "events.jsonl"
    while not events.exists() or "cell-started" not in events.read_text():
        if run.poll() is not None:
            pytest.skip(run.communicate()[0][-500:])
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    try:
        out, _ = run.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        left = living(directory)
        run.kill()
        pytest.fail(f"it still runs: {left}; {run.communicate()[0]}")
    if "unsupported" in out.lower():
        pytest.skip(out[-500:])
    assert run.returncode == 130, out
    assert "1 cell: 1 not run" in out
    assert wait_until_gone(directory, 5) == []


@pytest.mark.parametrize("delay", [0.1, 0.7, 1.2, 1.7])
def test_kill_9_leaves_no_guest_and_no_lock(tmp_path: Path, delay: float, history: Path) -> None:
    run = start(tmp_path / "run")
    time.sleep(delay)
    run.kill()
    run.communicate(timeout=60)
    assert wait_until_gone(tmp_path / "run", 10) == []
    locks_are_free()
    lines = _lines(tmp_path / "run" / "events.jsonl")
    events = [json.loads(line) for line in lines]
    finished = {each["cell"] for each in events if each["event"] == "cell-finished"}
    if history.exists() and finished:
        kept = recorded(history)
        was_over = kept.run.counts == {"pass": CELLS}
        assert kept.run.state is State.KILLED or was_over
        # the last of them may have been on its way from one sink to the next
        assert len(finished - {cell.name for cell in kept.cells if cell.result}) <= 1


@pytest.mark.uml
def test_two_runs_at_the_same_time(tmp_path: Path, history: Path) -> None:
    runs = [start(tmp_path / name) for name in ("one", "two")]
    for run in runs:
        out, err = run.communicate(timeout=200)
        assert run.returncode == 0, (out + err).decode()
        assert f"{CELLS} passed".encode() in out
    with Database(history, read_only=True) as database:
        assert [run.counts for run in reader.runs(database)] == [{"pass": CELLS}] * 2


def recorded(history: Path) -> reader.StoredRun:
    """What the history has of the run."""
    with Database(history, read_only=True) as database:
        assert database.value("PRAGMA integrity_check") == "ok"
        return reader.find(database, "last")


def _lines(path: Path) -> list[str]:
    """Whole lines of a file that may have been cut short, or never begun."""
    return path.read_text().splitlines()[:-1] if path.exists() else []


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--guest", "native", "--guest", "uml-bookworm"],
        ["threshold", "/bin/true", "--guest", "native", "--guest", "uml-bookworm"],
    ],
)
def test_ends_when_the_reader_of_the_table_has_gone(words: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    streams = {"stdout": writing} if words[0] == "run" else {"stdout": writing, "stderr": writing}
    process = subprocess.Popen(
        [sys.executable, "-m", "foothold_lab.harness.cli", *words],
        **streams,  # type: ignore[call-overload]
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    os.close(writing)
    assert os.read(reading, 1)  # the first line is there
    os.close(reading)
    assert process.wait(timeout=60) == 141
    assert not living(tmp_path)
    assert not list((tmp_path / "foothold").glob("crashes/*"))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_finding_remains_the_exit_code_when_the_reader_has_gone(
    tmp_path: Path, unbuffered: str
) -> None:
    words = ["--guest", "native", "--limit", "none", "--subject", "/bin/false", "--quiet"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*RUN[:4], *words], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=100,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
