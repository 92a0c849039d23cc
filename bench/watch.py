"""The time from a change of a program to the answers of guests that stay booted.

The program is the server of the pages. It is compiled again with other text for each change, and
the time begins at the end of the compiler, as in `foothold watch -- make`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.guests import Line

SOURCE = Path(__file__).parents[1] / "tests/pages/server.c"
GUESTS = ("native", "uml-bookworm", "uml-trixie", "uml-testing")
GOALS = (1.0, 3.0)  # seconds, without and with emulated machines
_ANSWERED = "after the change"


def _changes(words: Sequence[str], times: int) -> Iterator[float]:
    """Yield the seconds that the answers to each change take; not those to the first program."""
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
        place = Path(folder)
        source = Path(shutil.copy(SOURCE, place / "server.c"))
        text = source.read_text()
        (place / ".gitignore").write_text("server\nrun/\n")
        subprocess.run(["git", "init", "-q", place], check=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "foothold_lab.harness.cli", "watch", "--run-dir", place / "run",
             "--ready-pattern", "listening", *words, "--", "cc", "-o", "server", "server.c"],
            cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            for number in range(times + 1):
                took = _seconds(process)
                if number:
                    yield took
                source.write_text(text.replace("return 0", f'puts("{number}"); return 0'))
        finally:
            process.terminate()
            process.wait()


def _seconds(process: subprocess.Popen[str]) -> float:
    """Read the lines of the process up to the end of the answers; return the time that they took."""
    assert process.stdout
    for line in process.stdout:
        if _ANSWERED in line:
            return float(line.split()[-5])
    raise RuntimeError("foothold watch has ended")


def main(times: int = 5) -> None:
    """Print the table."""
    print(f"{'':52} {'ours':>8} {'ref.':>8} {'ratio':>8} {'goal':>8}")
    without = [word for guest in GUESTS for word in ("--guest", guest)]
    for name, words, goal in (
        ("watch, native and UML", without, GOALS[0]),
        ("watch, plan default", (), GOALS[1]),
    ):
        took = statistics.median(_changes(words, times))
        print(Line(name=name, ours=took, reference=None, goal=goal), flush=True)
