"""Copies files for guests that see the files of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_on_host(source: Path, target: str | Path) -> None:
    """Copy a file, or a directory with all below it; see `Guest.push`. Raises OSError."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
