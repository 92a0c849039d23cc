"""What each host can do: runs README's two commands on it, and writes the table of docs/hosts.md.

`python -m tests.hosts.survey [--tests quick|all|none] [HOST[:USER]]...` measures the hosts (as root)
and writes the table.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foothold_lab.images.mirror import find_mirror
from tests.hosts.distributions import DISTRIBUTIONS
from tests.hosts.machine import USERS, Machine, machine

PAGE = Path(__file__).parents[2] / "docs/hosts.md"
_RULE = "|---|---|---|---|---|---|---|---|\n"  # below the head of the table
# `./foothold test` with these words; None: it is not run
TESTS: Mapping[str, tuple[str, ...] | None] = {"none": None, "quick": ("--quick",), "all": ()}
_COUNT = re.compile(r"(\d+) (passed|failed|errors?)\b")


@dataclass(frozen=True, kw_only=True)
class Tests:
    """How `./foothold test` ended. `output` has what failed."""

    words: tuple[str, ...]
    status: int
    seconds: float
    counts: Mapping[str, int]
    output: str

    def __str__(self) -> str:
        """Return the cell of the table."""
        failed = sum(self.counts.values()) - self.counts["passed"]
        what = " ".join(("./foothold test", *self.words))
        end = "" if self.status == 0 else f", status {self.status}"
        text = f"{self.counts['passed']} passed, {failed} failed{end}"
        return f"`{what}`: {text}, {self.seconds:.0f} s"


def prepare(host: Machine, user: str) -> None:
    """Choose a mirror, on a host whose apt has none. Raises AssertionError if that fails."""
    if host.distribution.needs_mirror:
        done = host.run(user, "./foothold", "setup", "--mirror", find_mirror().url)
        assert done.returncode == 0, done.stdout + done.stderr


def run_default_plan(
    host: Machine, user: str, *, offline: bool = False
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the default plan. Return how it ended, and its document."""
    done = host.run(user, "./foothold", "run", "--json", "result.json", offline=offline)
    place = host.tree / USERS[user][1].lstrip("/") / "foothold/result.json"
    return done, json.loads(place.read_text()) if place.exists() else {}


def unsupported(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the guests that the host does not support, with the reason."""
    return {
        cell["guest"]: cell["verdict"]["findings"][0]["text"]
        for cell in summary["cells"]
        if cell["verdict"]["result"] == "unsupported"
    }


def run_tests(host: Machine, user: str, words: tuple[str, ...]) -> Tests:
    """Run `./foothold test` and count its tests, in all its environments."""
    started = time.monotonic()
    done = host.run(user, "./foothold", "test", *words)
    lines = [each for each in done.stdout.splitlines() if re.search(r" in \d[\d.]*s\b", each)]
    counts = Counter({"passed": 0})
    for number, what in _COUNT.findall("\n".join(lines)):
        counts[what.rstrip("s")] += int(number)
    return Tests(
        words=words,
        status=done.returncode,
        seconds=time.monotonic() - started,
        counts=counts,
        output=done.stdout + done.stderr,
    )


def rows(name: str, words: tuple[str, ...] | None) -> Iterator[str]:
    """Measure a host (`ubuntu`, or `ubuntu:user` for one user) from nothing, and yield its rows.

    Afterwards `./foothold test` runs with these words, unless they are None.
    """
    name, _, chosen = name.partition(":")
    for user in [chosen] if chosen else USERS:
        with (
            tempfile.TemporaryDirectory(prefix="foothold-host-") as folder,
            machine(DISTRIBUTIONS[name], Path(folder)) as host,
        ):
            started = time.monotonic()
            prepare(host, user)
            done, summary = run_default_plan(host, user)
            seconds = time.monotonic() - started
            end = (done.returncode, seconds)
            tests = None if words is None else run_tests(host, user, words)
            if tests and tests.status:
                sys.stderr.write(tests.output)
            yield _row(host, user, end, summary, tests)


def with_row(page: str, row: str) -> str:
    """Return the page with this row in its table, in place of one of the same host and user."""
    before, rule, rest = page.partition(_RULE)
    table, end, after = rest.partition("\n\n") if not rest.startswith("\n") else ("", "", rest)
    kept = {_host_and_user(each): each for each in table.splitlines()}
    kept[_host_and_user(row)] = row
    return before + rule + "\n".join(kept[each] for each in sorted(kept)) + (end or "\n") + after


def _host_and_user(row: str) -> tuple[str, str]:
    cells = [cell.strip() for cell in row.split("|")]
    return cells[1], cells[3]


def _row(
    host: Machine,
    user: str,
    end: tuple[int, float],
    summary: Mapping[str, Any],
    tests: Tests | None,
) -> str:
    status, seconds = end
    counts = summary.get("counts", {})
    why = "; ".join(f"`{guest}`: {reason}" for guest, reason in unsupported(summary).items())
    return (
        f"| {host.distribution.title} | {summary['provenance']['python']} | {user} "
        f"| {'yes' if status == 0 else f'no (status {status})'} | {seconds:.0f} "
        f"| {counts['pass']} passed, {counts['fail'] + counts['error']} failed "
        f"| {tests or 'not run'} | {why or '-'} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=list(DISTRIBUTIONS), metavar="HOST[:USER]")
    parser.add_argument("--tests", choices=TESTS, default="quick", help="default: quick")
    chosen = parser.parse_args()
    for each in chosen.hosts:
        for row in rows(each, TESTS[chosen.tests]):
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
            PAGE.write_text(with_row(PAGE.read_text(), row))
