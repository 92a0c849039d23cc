"""An image of a packaged runtime at another path than that of the cache.

Its programs name their loader and their libraries by absolute paths (`images.runtimes.install`), and
nothing else in it does: so only these programs are changed, in copies.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from foothold_lab.images import elf
from foothold_lab.images.elf_file import ElfError, read_elf


def relocated_programs(image: Path, place: str, scratch: Path) -> Mapping[Path, Path]:
    """Return copies, made below `scratch`, of the programs of an image that would not work at `place`.

    Keys are paths in the image.
    """
    copies = {}
    for number, (program, interpreter, run_path) in enumerate(_programs(image)):
        copy = Path(shutil.copy2(program, scratch / f"{number}"))
        elf.relocate(
            copy, interpreter.replace(str(image), place), run_path.replace(str(image), place)
        )
        copies[program] = copy
    return copies


def _programs(image: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield each program whose loader is in the image, with its loader and its run path."""
    for path in sorted(image.rglob("*")):
        if path.is_symlink() or not path.is_file() or not elf.is_elf(path):
            continue
        try:
            file = read_elf(path)
        except ElfError:  # a part of a program, which no loader loads
            continue
        if file and Path(file.interpreter).is_relative_to(image):
            yield path, file.interpreter, ":".join((*file.rpath, *file.runpath))
