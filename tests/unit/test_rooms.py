"""Who may import whom: the rooms of the house, from the ground up."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"allocator", "harness", "images", "plans", "tests", "bench"}
VALUES = {
    "errors", "deadline", "sizes", "limits", "cells", "facts", "ledger", "verdict", "record",
    "events", "origin", "traits",
}  # fmt: skip
# room of the harness -> the rooms, and packages, that it may know
MAY = {
    **dict.fromkeys(VALUES, VALUES),
    "oracle": VALUES,
    "plan": VALUES | {"plans"},
    "witnesses": VALUES,
    "sinks": VALUES,
    "history": VALUES,
    "report": VALUES | {"witnesses", "sinks"},
    "channels": VALUES,
    "guests": VALUES | {"channels", "images"},
    "edge": VALUES,
    "trial": VALUES | {"guests", "subjects", "witnesses"},
    "threshold": VALUES | {"edge", "guests", "subjects", "trial", "witnesses"},
    "runtimes": VALUES | {"images", "subjects"},
    "survey": VALUES | {"edge", "witnesses"},
    "desk": VALUES | {"channels", "guests", "libraries", "subjects", "history", "images"},
    "bytecode": VALUES | {"allocator", "images"},
    "libraries": VALUES | {"images"},
    "subjects": VALUES | {"libraries", "guests", "allocator", "images"},
    "tries": VALUES,
    "unasked": VALUES | {"oracle"},
}  # fmt: skip


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, at its top or within a function."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            if module in (["harness"], ["images"]):  # from harness import cells
                yield from (".".join([*module, alias.name]) for alias in node.names)
            else:
                yield ".".join(module)


def ours(path: Path) -> set[str]:
    """Of what a file imports, what is ours: a room of the harness, or another package."""
    rooms = set()
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package == "harness":
            rooms.add(rest.partition(".")[0] or "harness")
        elif package in OURS:
            rooms.add(package)
    return rooms - {"__version__"}


@pytest.mark.parametrize("path", modules("allocator"), ids=lambda path: path.name)
def test_the_allocator_knows_the_standard_library_alone(path: Path) -> None:
    for name in imported(path):
        package = name.partition(".")[0]
        assert package == "allocator" or package in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", modules("images"), ids=lambda path: path.name)
def test_images_know_neither_harness_nor_allocator(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(path)} & (OURS - {"images"})


@pytest.mark.parametrize("room", sorted(MAY))
def test_imports_run_downwards_only(room: str) -> None:
    single, package = ROOT / "harness" / f"{room}.py", ROOT / "harness" / room
    files = [single] if single.exists() else sorted(package.rglob("*.py"))
    assert files, f"there is no room {room}"
    for path in files:
        above = ours(path) - MAY[room] - {room}
        assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}"


def test_nobody_but_the_doors_knows_the_orchestrator_or_who_listens() -> None:
    for path in modules("harness"):
        if {"cli", "sinks", "history", "report", "plugin", "desk"} & set(path.parts):
            continue
        known = ours(path) & {"sinks", "history", "report", "cli", "run"}
        assert not known, f"{path.relative_to(ROOT)} imports {sorted(known)}"


@pytest.mark.parametrize("path", modules("harness"), ids=lambda path: path.stem)
def test_no_file_is_longer_than_a_reader(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420
