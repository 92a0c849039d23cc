"""Finds the program that a command has made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images.elf_file import ElfError, read_elf

_SHOWN = 5
_CONTROL = frozenset({".git", ".hg", ".svn", "node_modules", ".venv"})


def find_program(directory: Path, since: float) -> Path:
    """Return the only ELF program below a directory that was written since a time of day, or else
    the only one there is. Raises UsageError.
    """
    found = sorted(_programs(directory))
    new = [path for path in found if path.stat().st_mtime >= since]
    for some in (new, found):
        if len(some) == 1:
            return some[0]
    if not found:
        raise UsageError(
            f"the command has made no program below {directory}",
            "name the program: foothold watch ./PROGRAM -- COMMAND",
        )
    names = [str(each.relative_to(directory)) for each in (new or found)]
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    raise UsageError(
        f"there are several programs below {directory}: {shown}",
        f"name one of them: foothold watch ./{names[0]} -- COMMAND",
    )


def _programs(directory: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(directory):
        names[:] = [name for name in names if name not in _CONTROL]
        for name in files:
            path = Path(folder, name)
            if os.access(path, os.X_OK) and not path.is_symlink() and _is_program(path):
                yield path


def _is_program(path: Path) -> bool:
    """Is it an ELF file with a loader, or one that needs none? A shared library is neither."""
    try:
        file = read_elf(path)
    except (ElfError, OSError):
        return False
    if file is None or ".so" in path.suffixes:
        return False
    return bool(file.interpreter) or not (file.needed or file.soname)
