"""`git bisect run` with a kernel in every commit: it finds the one that moved the heap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.cli.bisect import SKIP
from foothold_lab.harness.cli.context import FINDING
from foothold_lab.images.builder import Builder

SCRIPT = """\
#!/bin/sh
exec {python} -m foothold_lab.harness.cli run --uml "$(cat kernel)" --append "$(cat words)" --expect low \\
    --no-history --run-dir "$RUNS/$(git rev-parse HEAD)"
"""


def git(repository: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *words],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=250,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "RUNS": str(repository.parent / "runs"),
            "HOME": str(repository),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path, builder: Builder) -> Path:
    """Seven commits, of which the one in the middle does not boot, and the sixth brings 7.2."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    old, new = (builder.image(name) / "linux" for name in ("uml-bookworm", "uml-forky"))
    for subject, kernel, words in (
        ("Kernel 6.1", old, "one"),
        ("Another word", old, "two"),
        ("And another", old, "three"),
        ("A word too much", old, "init=/nowhere"),
        ("Without it", old, "four"),
        ("Kernel 7.2", new, "five"),
        ("The last word", new, "six"),
    ):
        (path / "kernel").write_text(f"{kernel}\n")
        (path / "words").write_text(f"{words}\n")
        git(path, "add", ".")
        git(path, "commit", "-q", "-m", subject)
    return path


@pytest.mark.uml
@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_git_finds_the_commit(repository: Path) -> None:
    script = repository.parent / "try"
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    git(repository, "bisect", "start", "HEAD", "HEAD~6")
    told = git(repository, "bisect", "run", str(script))
    log = git(repository, "bisect", "log")
    assert "first bad commit: [" in log.splitlines()[-1]
    assert "Kernel 7.2" in log.splitlines()[-1]
    assert "# skip: [" in log
    assert "kernel panic: Requested init /nowhere failed" in told


CRASH = ("/bin/sh", "-c", "sleep 1; echo c > /proc/sysrq-trigger; sleep 60")


@pytest.mark.uml
@pytest.mark.parametrize(
    ("program", "expect", "code"),
    [
        (CRASH, "panics:sysrq triggered crash", 0),
        (CRASH, "panics:Bad page map", FINDING),
        (("/bin/true",), "panics:sysrq triggered crash", FINDING),
        (CRASH, "starts", SKIP),
        (("/bin/true",), "starts", 0),
    ],
    ids=["as-expected", "another-panic", "no-panic", "panic-not-expected", "starts"],
)
def test_a_panic_under_the_program(
    program: tuple[str, ...], expect: str, code: int, tmp_path: Path, builder: Builder
) -> None:
    """The exit codes of docs/bisect.md."""
    kernel = builder.image("uml-bookworm") / "linux"
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", "run", "--uml", kernel,
         "--subject", program[0], *(f"--arg={arg}" for arg in program[1:]),
         "--expect", expect, "--no-history", "--run-dir", tmp_path / "run"],
        capture_output=True, text=True, timeout=250,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr


def test_a_kernel_that_panics_at_boot_is_skipped(tmp_path: Path, builder: Builder) -> None:
    kernel = builder.image("uml-bookworm") / "linux"
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", "run", "--uml", kernel,
         "--append", "init=/nowhere", "--subject", "/bin/true",
         "--expect", "panics:Requested init /nowhere failed", "--no-history",
         "--run-dir", tmp_path / "run"],
        capture_output=True, text=True, timeout=250,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert done.returncode == SKIP, done.stdout + done.stderr
