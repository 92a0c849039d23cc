"""The modules of the allocator import each other without circles."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "allocator"


def imports(path: Path) -> set[str]:
    """Names of the allocator's modules that a module imports, also for annotations only."""
    names = {each.stem for each in FOLDER.glob("*.py")}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("allocator."):
            found.add((node.module or "").removeprefix("allocator."))
    return found & names


def order(graph: dict[str, set[str]]) -> list[str]:
    return list(TopologicalSorter(graph).static_order())


def test_the_modules_have_no_import_circle() -> None:
    modules = order({path.stem: imports(path) for path in FOLDER.glob("*.py")})
    assert modules.index("bitmap") < modules.index("central") < modules.index("cache")
    assert modules.index("mprof") < modules.index("malloc") < modules.index("workload")


def test_a_circle_is_detected() -> None:
    with pytest.raises(CycleError):
        order({"bitmap": {"cache"}, "cache": {"bitmap"}})
