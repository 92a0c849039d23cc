"""The list of failed tests at the end of `./foothold test`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

def test_good(): pass

@pytest.mark.parametrize("number", [1, 2])
def test_bad(number):
    assert number == 1, "two\\nlines"

@pytest.fixture
def broken(): raise OSError(28, "no space")

def test_setup(broken): pass

def test_flaky(tmp_path_factory):
    made = tmp_path_factory.getbasetemp().parent / "made"
    assert made.exists() or made.touch(), "the first time"
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command below `tests.failures`, in a process of its own: it changes what signals do."""
    program = [sys.executable, "-m", "tests.failures", sys.executable, *argv]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("processes", [0, 2])
def test_failed_and_repeated_tests_are_the_last_lines(tmp_path: Path, processes: int) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "temporary").mkdir()
    done = run(
        "-m", "pytest", "-p", "tests.failures", "-p", "no:cacheprovider",
        f"--rootdir={tmp_path}", f"-n{processes}", "--reruns=1",
        f"--basetemp={tmp_path}/temporary/one", "-c", os.devnull, str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 1
    *_, repeated, flaky, _, head, bad, setup = done.stdout.splitlines()
    assert repeated == "1 passed only when repeated:"
    assert "test_some.py::test_flaky" in flaky and "the first time" in flaky
    assert head == "2 failed:"
    assert "test_some.py::test_bad[2] (Python 3." in bad and "two lines" in bad
    assert "test_some.py::test_setup" in setup and "no space" in setup


def test_nothing_is_printed_if_no_test_failed() -> None:
    done = run("-c", "raise SystemExit(5)")
    assert (done.returncode, done.stdout) == (5, "")
