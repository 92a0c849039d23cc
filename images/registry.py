"""Files from package registries that images are built from: wheels of the Python package index, and
packages of npm.

`registry_lock.json` lists them by the name of their image, with version, size and hash. The clients
of the registries, pip and npm, know the addresses: no host is named here. A file is compared with its
hash whenever an image is built from it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import msgspec

from foothold_lab.images import npm, wheels
from foothold_lab.images.npm import NpmPackage
from foothold_lab.images.progress import Progress
from foothold_lab.images.wheels import Wheel

LOCK = Path(__file__).with_name("registry_lock.json")
RegistryFile = Wheel | NpmPackage


@dataclass(frozen=True, kw_only=True)
class RegistryLock:
    """Files by the name of their image. `schema` is the version of the format."""

    schema: int
    wheels: dict[str, tuple[Wheel, ...]]
    npm: dict[str, tuple[NpmPackage, ...]]


@functools.cache
def lock() -> RegistryLock:
    """Return the lock of this version of Foothold."""
    return msgspec.json.decode(LOCK.read_bytes(), type=RegistryLock)


def files_of(image: str) -> tuple[RegistryFile, ...]:
    """Return the locked files of an image; nothing for an image that is made of Debian packages."""
    return (*lock().wheels.get(image, ()), *lock().npm.get(image, ()))


def version_of(image: str) -> str:
    """Return the version of the program in an image, which is that of its first file."""
    return files_of(image)[0].version


def digest(file: RegistryFile) -> str:
    """Return the hash of a file."""
    return file.sha256 if isinstance(file, Wheel) else file.sha512


def find(file: RegistryFile, directory: Path) -> Path | None:
    """Return a downloaded file; None if the directory does not have it, undamaged."""
    return wheels.find(file, directory) if isinstance(file, Wheel) else npm.find(file, directory)


def install(file: RegistryFile, directory: Path, tree: Path, progress: Progress) -> Path:
    """Unpack a file into `tree`, downloaded into `directory` if it is not there. Returns its path.

    Raises ImageError if it cannot be downloaded, or if its hash is another.
    """
    if isinstance(file, Wheel):
        path = wheels.fetch(file, directory, progress)
        wheels.unpack([path], tree)
    else:
        path = npm.fetch(file, directory, progress)
        npm.unpack([path], tree)
    return path
