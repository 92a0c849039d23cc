"""Builds images a second time, and compares every file with that of the first build.

Times of files are not compared: packages give them, and programs that were compiled have new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from foothold_lab.images.builder import Builder
from foothold_lab.images.manifest import File, Manifest


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
    """Build each of these images again, and yield what differs. The store does not change."""
    for name in names:
        entry, again = builder.build_again(name)
        yield Reproduction(
            name=name,
            files=len(again.files),
            seconds=again.seconds,
            differences=tuple(_differences(entry.manifest, again)),
        )


def _differences(first: Manifest, second: Manifest) -> Iterator[str]:
    before, after = _comparable(first), _comparable(second)
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield path


def _comparable(built: Manifest) -> dict[str, object]:
    files = {path: _without_time(file) for path, file in built.files.items()}
    return {**files, **built.directories}


def _without_time(file: File) -> tuple[object, ...]:
    return file.size, file.sha256, file.mode
