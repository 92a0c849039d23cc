"""A cell once more: here, of the same images, and from a tarball, with nothing of ours."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.guests.conftest import Sit
from tests.guests.person import PROMPT

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
REFUSED = "throw: runtime: cannot reserve arena virtual address space"


def foothold(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FOOTHOLD, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **settings},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few cells, and one of a program, in a directory."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    done = foothold(
        "run",
        "--guest",
        "uml-bookworm",
        "--guest",
        "native",
        "--guest",
        "qemu-x86_64",
        "--limit",
        "none",
        "--limit",
        "rlimit_as=300M",
        "--policy",
        "after",
        "--subject",
        "allocator",
        "--subject",
        "/bin/sh",
        "--arg=-c",
        "--arg=echo in $0; exec sleep 0.1",
        "--env",
        "A=b",
        "--run-dir",
        directory,
        "--no-history",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def unpacked(tarball: Path, into: Path) -> Path:
    into.mkdir()
    with tarfile.open(tarball) as archive:
        archive.extractall(into, filter="tar")
    [directory] = into.iterdir()
    return directory


def alone(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with an empty environment, from elsewhere; our cache out of its sight."""
    script = ["env", "-i", str(directory / "repro")]
    if os.geteuid() == 0:
        cache = os.environ.get("FOOTHOLD_CACHE", str(Path.home() / ".cache/foothold"))
        hide = f'mount -t tmpfs none "{cache}" && exec "$@"'
        script = ["unshare", "-m", "sh", "-c", hide, "sh", *script]
    return subprocess.run(script, capture_output=True, text=True, timeout=120, cwd="/")


@pytest.mark.uml
@pytest.mark.parametrize(
    "cell, form, status, said",
    [
        ("uml-6.1/none/after", "tar.gz", 0, "low, allocates"),
        ("uml-6.1/rlimit_as=300M/after", "tar", 2, REFUSED),
        ("qemu-x86_64/none/after", "tar", 0, "high, allocates"),
        ("native/none/after", "tar.xz", 0, "high, allocates"),
        ("uml-6.1/none/sh", "tar", 0, "starts"),
    ],
)
def test_a_tarball_needs_nothing_of_ours(
    run: Path, tmp_path: Path, cell: str, form: str, status: int, said: str
) -> None:
    tarball = tmp_path / f"cell.{form}"
    done = foothold("repro", run, cell, "--trust", "--bundle", tarball)
    assert done.returncode == 0, done.stderr
    directory = unpacked(tarball, tmp_path / "empty")
    again = alone(directory)
    assert again.returncode == status, again.stdout[-2000:] + again.stderr
    assert f"result of the recorded run: {said}" in again.stderr.replace("dies, status 2: ", "")
    lines = again.stdout.splitlines()
    ending = json.loads(lines[-1].removeprefix("=== ended "))
    assert ending["status"] == status
    assert "=== trace" in lines
    if "/after" in cell:
        # what the allocator reports is told of itself, so it is the same to the letter
        report = (run / "cells" / cell / "stdout.jsonl").read_text().splitlines()
        reserved = [line for line in report if '"event":"reserved"' in line]
        assert reserved == [line for line in lines if '"event":"reserved"' in line]
        assert ("=== maps at end" in lines) == (status == 0)
    assert (directory / "recorded/cell/verdict.json").is_file()
    assert (directory / "recorded/guest/command.json").is_file()
    assert not list(directory.rglob("hostkey"))


@pytest.mark.uml
def test_a_cell_again_comes_to_the_same(run: Path) -> None:
    for cell in ("uml-6.1/none/after", "native/none/sh"):
        done = foothold("repro", run, cell, "--trust")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"same result as in {run.name}" in done.stdout


def test_a_cell_with_another_result(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", run, other], check=True)
    verdict = other / "events.jsonl"
    text = verdict.read_text()
    verdict.write_text(text.replace('"outcome":"starts"', '"outcome":"dies"'))
    done = foothold("repro", other, "native/none/sh", "--trust")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "which was: dies, status 0" in done.stdout


@pytest.mark.uml
def test_images_that_are_gone_are_named(run: Path, tmp_path: Path) -> None:
    done = foothold("repro", run, "uml-6.1/none/after", FOOTHOLD_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 2
    assert "the cache no longer has agent-" in done.stderr
    assert "uml-bookworm-" in done.stderr
    assert (
        "remedy: run the cell with the images of today: foothold run --guest uml-6.1" in done.stderr
    )


@pytest.mark.uml
def test_what_cannot_go_into_a_tarball(run: Path, tmp_path: Path) -> None:
    done = foothold(
        "repro", run, "uml-6.1/none/after", "--trust", "--bundle", tmp_path / "cell.zip"
    )
    assert (done.returncode, "end it in .tar, .gz" in done.stderr) == (2, True)
    done = foothold("repro", run, "nothing", "--bundle", tmp_path / "cell.tar")
    assert (done.returncode, "names no cell" in done.stderr) == (2, True)


@pytest.mark.uml
def test_a_shell_in_the_guest_of_the_cell(run: Path, sit: Sit) -> None:
    person = sit("repro", str(run), "uml-6.1/none/after", "--shell")
    person.sees(f"as in {run.name}")
    person.sees(PROMPT)
    assert "allocator" in person.types("ls /share")
    assert person.leaves("exit") == 0


def test_the_command_that_is_printed_runs_in_any_directory(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "it's here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    (here / "prog").write_text("#!/bin/sh\ncat data\necho last words >&2\nkill -SEGV $$\n")
    (here / "prog").chmod(0o755)
    (here / "data").write_text("of the file\n")
    head = 'schema = 1\nname = "p"\ndescription = "d"\n'
    axes = '[axes]\nguests = ["native"]\nlimits = ["none"]\n'
    (here / "p.toml").write_text(head + axes)
    run = [*FOOTHOLD, "run", "p.toml", "--subject", "./prog", "--file", "data",
           "--arg", "$(touch x)", "--expect", "starts", "--no-history"]  # fmt: skip
    done = subprocess.run(run, capture_output=True, text=True, timeout=100, cwd=here)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "killed by SIGSEGV" in done.stdout
    assert "    | of the file\n    | last words\n" in done.stdout
    [again] = [line for line in done.stdout.splitlines() if line.startswith("  again:")]
    program, *words = shlex.split(again.removeprefix("  again:"))
    assert program == "foothold"
    repeated = subprocess.run(
        [*FOOTHOLD, *words, "--no-history"],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=elsewhere,
    )
    assert repeated.returncode == 1, repeated.stdout + repeated.stderr
    assert "    | of the file\n    | last words\n" in repeated.stdout
    assert [line for line in repeated.stdout.splitlines() if line.startswith("  again:")] == [again]
    assert not list(tmp_path.rglob("x"))
