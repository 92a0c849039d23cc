"""Prints how much of each room the tests have executed: `python -m tests.coverage_by_room`.

It reads the data that `tox -e coverage` has measured, and prints a table of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PARTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def read_report(data: str | None) -> dict[str, Any]:
    """Return the report of coverage.py on each file, by its path in the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "coverage.json"
        argv = [sys.executable, "-m", "coverage", "json", "-q", "-o", out]
        argv += ["--data-file", data] if data else []
        subprocess.run(argv, cwd=ROOT, check=True)
        files: dict[str, Any] = json.loads(out.read_text())["files"]
    return files


def room_of(path: str) -> str:
    """Return the room of a module, or the package if it has no rooms."""
    package, *rest = Path(path).parts
    return f"{package}/{rest[0]}" if package == "harness" and len(rest) > 1 else package


def by_room(files: dict[str, Any]) -> dict[str, Counter[str]]:
    """Add the figures of the files of each room, and those of all."""
    rooms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, report in files.items():
        figures = {part: report["summary"][part] for part in _PARTS}
        rooms[room_of(path)].update(figures)
        rooms["all"].update(figures)
    return dict(rooms)


def row(room: str, figures: Counter[str]) -> str:
    """Return a row of the table."""
    statements, executed, branches, taken = (figures[part] for part in _PARTS)
    return f"| {room} | {statements} | {_percent(executed, statements)} | {_percent(taken, branches)} |"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="the file of coverage.py, .coverage if not given")
    parser.add_argument("--missing", action="store_true", help="list the branches not taken")
    given = parser.parse_args()
    files = read_report(given.data)
    rooms = by_room(files)
    total = rooms.pop("all")
    lines = ["| room | statements | executed | branches taken |", "|---|---|---|---|"]
    lines += [row(room, figures) for room, figures in sorted(rooms.items())]
    lines.append(row("all", total))
    if given.missing:
        lines += [
            f"{path}: {' '.join(f'{start}-{end}' for start, end in report['missing_branches'])}"
            for path, report in files.items()
            if report["missing_branches"]
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
