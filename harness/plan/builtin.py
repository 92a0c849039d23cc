"""The plans that come with Foothold, and how a plan is found."""

from __future__ import annotations

from pathlib import Path

from foothold_lab import plans
from foothold_lab.harness.model.errors import UsageError, did_you_mean

SHIPPED = Path(plans.__file__).parent
DEFAULT = "default"


def shipped() -> tuple[str, ...]:
    """Name the plans that come with Foothold."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def find(name_or_path: str) -> Path:
    """Return the file of a plan: a shipped plan's name, or a path. Raises UsageError."""
    if name_or_path in shipped():
        return SHIPPED / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    problem = "is a directory" if path.is_dir() else "there is no such plan"
    raise UsageError(
        f"{name_or_path}: {problem}{did_you_mean(name_or_path, shipped())}",
        f"give the path of a TOML file, or a shipped plan: {', '.join(shipped())}",
    )


def called(source: Path) -> str:
    """Say what to call a plan on the command line; empty for the default one."""
    if source.parent != SHIPPED:
        return str(source)
    return "" if source.stem == DEFAULT else source.stem
