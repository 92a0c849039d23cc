"""Finds and mends damage of the store: entries and downloaded packages that are not as they were.

What is damaged is removed. It is built or downloaded again when it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.images import lock
from foothold_lab.images.apt import Deb, is_intact
from foothold_lab.images.cache import Cache, Removal
from foothold_lab.images.progress import Progress, no_progress


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is wrong with one entry or package, and whether it was removed."""

    path: Path
    found: tuple[str, ...]
    removal: Removal
    is_image: bool = True


def verify(cache: Cache, progress: Progress = no_progress) -> Iterator[Damage]:
    """Read all entries and all packages of a known version. Removes and yields what is damaged."""
    paths = cache.directories()
    for number, path in enumerate(paths, 1):
        progress(f"verifying {number} of {len(paths)} images: {path.name}", transient=True)
        if entry := cache.load(path):
            if found := entry.all_damage():
                removal = cache.remove(path, entry.usage)
                yield Damage(path=path, found=tuple(found), removal=removal)
        elif os.path.lexists(path):  # else another process removed it
            found = ["it has no readable manifest"]
            yield Damage(path=path, found=tuple(found), removal=cache.remove(path))
    progress("verifying packages", transient=True)
    yield from _packages(cache)


def _packages(cache: Cache) -> Iterator[Damage]:
    for deb in _known(cache):
        path = cache.root / "debs" / deb.file
        if not os.path.lexists(path) or is_intact(path, deb):
            continue
        found = "its contents are not those of the package"
        try:
            path.unlink()
            removal = Removal(path=path)
        except OSError as error:
            removal = Removal(path=path, obstacle=str(error))
        yield Damage(path=path, found=(found,), removal=removal, is_image=False)


def _known(cache: Cache) -> list[Deb]:
    files = {
        deb.file: deb
        for source in (lock.TESTED, cache.root / "lock.json")
        for debs in lock.read(source).sets.values()
        for deb in debs
    }
    return [files[name] for name in sorted(files)]
