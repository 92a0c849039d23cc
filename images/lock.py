"""The versions of the packages that images are built from.

`lock.json` in this package has the versions that the maintainers tested. When a suite replaces a
version, for instance in a security update, the locked file disappears from the archive. The builder
then takes the suite's current version, reports it, and remembers it in the lock of the cache
(`lock.json` in the cache) until a release brings a new tested lock. A builder with `locked` set
refuses instead.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from foothold_lab.images.apt import Deb, PackageSet
from foothold_lab.images.errors import ImageError
from foothold_lab.images.own_apt import LOCK, ArchiveFile

TESTED = LOCK


@dataclass(frozen=True)
class LockFile:
    """Packages by the name of their set. `schema` is the version of the format."""

    schema: int = 1
    sets: dict[str, list[Deb]] = field(default_factory=dict)
    # only in the lock of the cache: the tested packages at that time
    instead_of: dict[str, list[Deb]] = field(default_factory=dict)
    apt: list[ArchiveFile] = field(default_factory=list)  # what Foothold's own apt is made of


def read(path: Path) -> LockFile:
    """Read a lock file. A missing file is an empty lock. Raises ImageError if it is damaged."""
    try:
        version = path.stat()
        return _decode(path, version.st_ino, version.st_mtime_ns, version.st_size)
    except FileNotFoundError:
        return LockFile()
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror}",
            "let this user read it, or choose another image store with FOOTHOLD_CACHE",
        ) from error
    except msgspec.MsgspecError as error:
        raise ImageError(
            f"{path} is not a lock file: {error}", "remove it and build again"
        ) from error


# a run needs the same packages for every cell; each write makes a new file
@functools.lru_cache(maxsize=8)
def _decode(path: Path, *version: int) -> LockFile:
    return msgspec.json.decode(path.read_bytes(), type=LockFile)


def write(path: Path, lock: LockFile) -> None:
    """Write a lock file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=1)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(text + b"\n")
    fresh.replace(path)


def locked_packages(wanted: PackageSet, cache_lock: Path, tested: Path = TESTED) -> list[Deb]:
    """Return the locked packages of a set, an empty list if no lock has it.

    Two sets of the same packages may select other dependencies; they share one list in the lock.
    """
    from_maintainers = read(tested).sets.get(wanted.name, [])
    from_cache = read(cache_lock)
    found = from_maintainers
    if (
        wanted.name in from_cache.sets
        and from_cache.instead_of.get(wanted.name, []) == from_maintainers
    ):
        found = from_cache.sets[wanted.name]
    return [deb for deb in found if wanted.selects(deb.package)]


def remember(wanted: PackageSet, debs: list[Deb], cache_lock: Path, tested: Path = TESTED) -> None:
    """Lock `debs` for this set in the lock of the cache, and keep what another set of the same
    packages selects.
    """
    from_cache = read(cache_lock)
    from_maintainers = read(tested).sets.get(wanted.name, [])
    others = from_cache.sets.get(wanted.name, from_maintainers)
    kept = [deb for deb in others if not wanted.selects(deb.package)]
    sets = from_cache.sets | {wanted.name: sorted([*debs, *kept])}
    write(
        cache_lock,
        LockFile(from_cache.schema, sets, from_cache.instead_of | {wanted.name: from_maintainers}),
    )


def merge(other: LockFile, cache_lock: Path) -> None:
    """Add the sets of another store's lock to that of a store."""
    if other.sets:
        known = read(cache_lock)
        write(
            cache_lock,
            LockFile(known.schema, known.sets | other.sets, known.instead_of | other.instead_of),
        )


def difference(old: list[Deb], new: list[Deb]) -> str:
    """Describe the difference between two lists, for instance `libc6 2.36-9 -> 2.36-10`."""
    before = {deb.package: deb.version for deb in old}
    after = {deb.package: deb.version for deb in new}
    names = sorted(name for name in before | after if before.get(name) != after.get(name))
    changes = [f"{n} {before.get(n, 'absent')} -> {after.get(n, 'absent')}" for n in names]
    return ", ".join(changes[:6]) + (f" and {len(changes) - 6} more" if len(changes) > 6 else "")
