"""The import rules: every module against the table of rooms in docs/design.md."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("allocator", "harness", "images", "plans")
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
TABLE = (ROOT / "docs/design.md").read_text().partition("## The rooms")[2].partition("\n## ")[0]
ROOMS = {name: (purpose, allowed) for name, purpose, allowed in ROW.findall(TABLE)}
HARNESS = sorted((ROOT / "harness").rglob("*.py"))
EVERY_MODULE = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, at its top or within a function."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            if module in ("foothold_lab", *(f"foothold_lab.{name}" for name in PACKAGES)):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def rooms_of(path: Path) -> set[str]:
    """The rooms of the harness, and the other packages of ours, that a file imports."""
    found = set()
    for name in imported(path):
        words = name.split(".")
        if words[0] == "foothold_lab" and len(words) > 1:
            inside = words[1] == "harness" and len(words) > 2
            found.add(words[2] if inside else words[1])
    return found - {"__version__", "_version"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_table_lists_every_room() -> None:
    folders = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    assert set(ROOMS) == folders
    loose = {path.name for path in (ROOT / "harness").glob("*.py")}
    assert loose == {"__init__.py"}


@pytest.mark.parametrize("path", HARNESS, ids=name_of)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = path.relative_to(ROOT / "harness").parts[0]
    if room == "__init__.py":
        assert not rooms_of(path)
        return
    allowed = ROOMS[room][1]
    if allowed == "everything":
        return
    above = rooms_of(path) - set(re.findall(r"`(\w+)`", allowed)) - {room}
    assert not above, f"{name_of(path)} imports {sorted(above)}"


def test_no_two_rooms_import_each_other() -> None:
    after: set[str] = set()
    for room, (_, allowed) in ROOMS.items():
        if allowed != "everything":
            known = set(re.findall(r"`(\w+)`", allowed)) & ROOMS.keys()
            assert known <= after, f"{room} stands above {sorted(known - after)} in the table"
        after.add(room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_the_table_says(room: str) -> None:
    text = (ROOT / "harness" / room / "__init__.py").read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert docstring.splitlines()[0] == ROOMS[room][0]


@pytest.mark.parametrize("path", sorted((ROOT / "allocator").rglob("*.py")), ids=name_of)
def test_the_allocator_imports_the_standard_library_only(path: Path) -> None:
    for name in imported(path):
        package = name.partition(".")[0]
        assert package == "allocator" or package in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", sorted((ROOT / "images").rglob("*.py")), ids=name_of)
def test_images_import_neither_harness_nor_allocator(path: Path) -> None:
    assert not rooms_of(path) & {"harness", "allocator", "plans", *ROOMS}


@pytest.mark.parametrize("path", EVERY_MODULE, ids=name_of)
def test_modules_are_imported_by_their_installed_name(path: Path) -> None:
    if path.parent == ROOT / "allocator":  # deployed, it is a package of its own
        return
    assert not {name.partition(".")[0] for name in imported(path)} & set(PACKAGES)


def dataclasses_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield the dataclasses of a module: name, number of fields, are they all keyword-only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            decorators = [ast.unparse(each) for each in node.decorator_list]
            if made := [each for each in decorators if each.startswith("dataclass")]:
                fields = sum(isinstance(each, ast.AnnAssign) for each in node.body)
                yield node.name, fields, "kw_only=True" in made[0]


@pytest.mark.parametrize(
    "path", [path for room in ("evidence", "oracle") for path in (ROOT / "harness" / room).glob("*.py")],
    ids=name_of,
)  # fmt: skip
def test_values_of_more_than_three_fields_are_keyword_only(path: Path) -> None:
    positional = [name for name, fields, kw in dataclasses_of(path) if fields > 3 and not kw]
    assert positional == []


def test_finds_dataclasses_in_the_rooms_of_values() -> None:
    assert ("Process", 4, True) in dataclasses_of(ROOT / "harness/oracle/forms.py")
