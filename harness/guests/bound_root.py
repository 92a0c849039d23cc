"""A root file system made of mounts: ours, with the files of a subject at their own paths.

A file can be mounted only where a directory can get a new entry. So a directory of our root below
which a subject has files is made anew, of its entries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# writable and empty, with their modes: those of images/agent/subject_root.c
FRESH: Mapping[str, int] = {
    "/tmp": 0o1777, "/var/tmp": 0o1777, "/run": 0o755, "/root": 0o700, "/home": 0o755,
    "/var/cache": 0o755, "/var/lib": 0o755, "/var/log": 0o755, "/var/spool": 0o755,
}  # fmt: skip
_OF_SANDBOX = ("/proc", "/dev", "/sys")  # a sandbox has its own


@dataclass(frozen=True)
class Step:
    """One entry of the root at `path`: `source` is mounted there, or is the target of the link; a
    directory has none.
    """

    kind: Literal["bind", "link", "directory"]
    path: str
    source: str = ""


def root_steps(base: Path, overlay: Path | None, shown: Mapping[str, Path]) -> Iterator[Step]:
    """Yield the entries of a root of the tree `base`, under the tree `overlay` and the directories
    `shown`, by their paths. An entry comes after the directories above it.
    """
    over = {path: Step("bind", path, str(source)) for path, source in shown.items()}
    over |= {step.path: step for step in overlay_steps(overlay)} if overlay else {}
    yield from _merged(base, "", over)
    yield from sorted(over.values(), key=lambda step: step.path)


def overlay_steps(tree: Path) -> Iterator[Step]:
    """Yield the files, links and empty directories of a tree."""
    for path in tree.rglob("*"):
        place = f"/{path.relative_to(tree)}"
        if path.is_symlink():
            yield Step("link", place, str(path.readlink()))
        elif not path.is_dir():
            yield Step("bind", place, str(path))
        elif not any(path.iterdir()):
            yield Step("directory", place)


def _merged(base: Path, place: str, over: Mapping[str, Step]) -> Iterator[Step]:
    """Yield what a directory of the base contributes: its entries that nothing replaces."""
    for entry in sorted(os.scandir(base), key=lambda one: one.name):
        path = f"{place}/{entry.name}"
        if path in over or path in FRESH or path in _OF_SANDBOX:
            continue
        if entry.is_symlink():
            yield Step("link", path, str(Path(entry).readlink()))
        elif entry.is_dir() and any(each.startswith(f"{path}/") for each in (*over, *FRESH)):
            yield Step("directory", path)
            yield from _merged(Path(entry), path, over)
        else:
            yield Step("bind", path, entry.path)
