"""Builds images a second time, and compares every file with that in the store.

Times of files are not compared: packages give them, and programs that were compiled have new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from foothold_lab.images import manifest
from foothold_lab.images.builder import Builder
from foothold_lab.images.manifest import File


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """An image that was built twice. `files` is their number, `seconds` the time of the second build.

    differences: the paths in the image that are only in one build, or have other contents or modes.
    """

    name: str
    files: int
    seconds: float
    differences: tuple[str, ...] = ()


def reproduce(builder: Builder, names: Iterable[str]) -> Iterator[Reproduction]:
    """Build each of these images again, and yield what differs. Those in the store stay."""
    for name in names:
        entry, again = builder.build_again(name)
        files, directories = manifest.describe(entry.path)
        del files[manifest.MANIFEST]
        before = _comparable(files, directories)
        after = _comparable(again.files, again.directories)
        paths = sorted(before.keys() | after.keys())
        yield Reproduction(
            name=name,
            files=len(again.files),
            seconds=again.seconds,
            differences=tuple(path for path in paths if before.get(path) != after.get(path)),
        )


def _comparable(files: Mapping[str, File], directories: Mapping[str, int]) -> dict[str, object]:
    return {**{path: _without_time(file) for path, file in files.items()}, **directories}


def _without_time(file: File) -> tuple[object, ...]:
    return file.size, file.sha256, file.mode
