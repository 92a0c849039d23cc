"""Which package versions go into the images.

`lock.json` in this package is what the maintainers tested. Suites move on: a security rebuild
replaces a kernel, and the locked file leaves the archive. Then what the suite has now is taken, the
user is told, and a lock of the cache's own (`lock.json` in the cache) remembers the choice, until a
new release brings a new tested lock. With `locked` set, the choice is refused instead.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from foothold_lab.images.apt import Deb, PackageSet
from foothold_lab.images.errors import ImageError

TESTED = Path(__file__).with_name("lock.json")


@dataclass(frozen=True)
class LockFile:
    """Packages by the name of their set; `schema` is this format's version."""

    schema: int = 1
    sets: dict[str, list[Deb]] = field(default_factory=dict)
    # cache's own lock only: what the tested lock said when the choice was made
    instead_of: dict[str, list[Deb]] = field(default_factory=dict)


def read(path: Path) -> LockFile:
    """Read a lock file; an absent one is empty."""
    try:
        version = path.stat()
        return _decode(path, version.st_ino, version.st_mtime_ns, version.st_size)
    except FileNotFoundError:
        return LockFile()
    except (OSError, msgspec.MsgspecError) as error:
        raise ImageError(
            f"{path} is no lock file: {error}", "remove it, and build again"
        ) from error


# a run asks for the same packages at every cell; what is written is a file of its own each time
@functools.lru_cache(maxsize=8)
def _decode(path: Path, *version: int) -> LockFile:
    return msgspec.json.decode(path.read_bytes(), type=LockFile)


def write(path: Path, lock: LockFile) -> None:
    """Write a lock file so that a reader sees the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=1)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(text + b"\n")
    fresh.replace(path)


def chosen(wanted: PackageSet, own: Path, tested: Path = TESTED) -> list[Deb]:
    """Return the packages that go in for this set, or an empty list if no lock knows it."""
    by_maintainers = read(tested).sets.get(wanted.name, [])
    mine = read(own)
    if wanted.name in mine.sets and mine.instead_of.get(wanted.name, []) == by_maintainers:
        return mine.sets[wanted.name]
    return by_maintainers


def choose(wanted: PackageSet, debs: list[Deb], own: Path, tested: Path = TESTED) -> None:
    """Remember in the cache's own lock that `debs` go in for this set."""
    mine = read(own)
    by_maintainers = read(tested).sets.get(wanted.name, [])
    sets = mine.sets | {wanted.name: debs}
    write(own, LockFile(mine.schema, sets, mine.instead_of | {wanted.name: by_maintainers}))


def difference(old: list[Deb], new: list[Deb]) -> str:
    """Say in words what has changed between two choices, for instance `libc6 2.36-9 -> 2.36-10`."""
    before = {deb.package: deb.version for deb in old}
    after = {deb.package: deb.version for deb in new}
    names = sorted(name for name in before | after if before.get(name) != after.get(name))
    changes = [f"{n} {before.get(n, 'absent')} -> {after.get(n, 'absent')}" for n in names]
    return ", ".join(changes[:6]) + (f" and {len(changes) - 6} more" if len(changes) > 6 else "")
