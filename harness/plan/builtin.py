"""The plans that come with Foothold, and how a plan is found."""

from __future__ import annotations

from pathlib import Path

from foothold_lab import plans
from foothold_lab.harness.model.errors import UsageError, did_you_mean

BUILTIN_DIRECTORY = Path(plans.__file__).parent
DEFAULT = "default"


def builtin_plans() -> tuple[str, ...]:
    """Return the names of the plans that come with Foothold, sorted."""
    return tuple(sorted(path.stem for path in BUILTIN_DIRECTORY.glob("*.toml")))


def find_plan(name_or_path: str) -> Path:
    """Return the file of a plan, given the name of a built-in plan or a path.

    Raises UsageError if there is no such file.
    """
    if name_or_path in builtin_plans():
        return BUILTIN_DIRECTORY / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    problem = "is a directory" if path.is_dir() else "no such plan"
    raise UsageError(
        f"{name_or_path}: {problem}{did_you_mean(name_or_path, builtin_plans())}",
        f"give the path of a TOML file, or a built-in plan: {', '.join(builtin_plans())}",
    )


def plan_argument(source: Path) -> str:
    """Return the command line argument that selects a plan; empty for the default plan."""
    if source.parent != BUILTIN_DIRECTORY:
        return str(source.absolute())
    return "" if source.stem == DEFAULT else source.stem
