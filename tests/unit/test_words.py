"""The words of the repository: plain technical English.

Help, messages, pages, docstrings and comments avoid words that hide who acts, or that need a second
reading. Each room stands here once it is clean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AVOIDED = re.compile(
    r"\b(whoever|whatever|(?<![`\"=;])(?<!user )nobody(?![`\"])|somebody|(is|are) told|(?<!there )is no(?! longer)|there is none"
    r"|hand(s|ed)? in|at hand|goes on from)\b",
    re.IGNORECASE,
)
SUFFIXES = {".c", ".h", ".html", ".js", ".md", ".py", ".toml"}
CLEAN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "RELEASE.md",
    "SECURITY.md",
    "allocator",
    "bench",
    "docs",
    "harness/api",
    "harness/cli",
    "harness/evidence",
    "harness/html_report",
    "harness/interactive",
    "harness/keeper",
    "harness/model",
    "harness/oracle",
    "harness/plan",
    "harness/pytest_plugin",
    "harness/reporters",
    "harness/results_db",
    "harness/runner",
    "harness/subjects",
    "harness/survey",
    "harness/threshold",
    "harness/transport",
    "harness/watch",
    "images",
    "plans",
    "tests/browser",
    "tests/data",
    "tests/pages",
)


def texts(room: str) -> Iterator[Path]:
    """Yield the files of a room in which people read."""
    place = ROOT / room
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.suffix in SUFFIXES:
            yield path


@pytest.mark.parametrize("room", CLEAN)
def test_a_room_avoids_words_that_need_a_second_reading(room: str) -> None:
    paths = list(texts(room))
    assert paths, f"{room} has no texts"
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := AVOIDED.search(line))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "avoided"),
    [
        ("Whoever reads it", True),
        ("the user is told", True),
        ("that is no error", True),
        ("it is no longer there", False),
        ("there is no answer", False),
        ("there is none", True),
        ("it runs as user nobody", False),
        ("somebody knows", True),
        ("files handed in", True),
        ("by hand, in C", False),
    ],
)
def test_what_is_avoided(text: str, avoided: bool) -> None:
    assert bool(AVOIDED.search(text)) is avoided
