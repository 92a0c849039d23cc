"""The manifest of a built tree: its origin, and all its files as they were built.

A tree is compared with its manifest in two ways. The quick comparison reads the metadata of each
file that the manifest lists, and the contents of a file whose time differs. The thorough comparison
reads all contents, and finds files and directories that the manifest does not list.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from foothold_lab.images.regular_file import NotRegularError, open_regular

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class File:
    """A file or link as it was built. Size in bytes, time in nanoseconds, mode as in stat(2).

    The hash of a link is that of its target. Older versions did not record the mode.
    """

    size: int
    mtime: int
    sha256: str
    mode: int | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Origin and files of an entry. Times in seconds.

    directories: mode of each directory, by relative path. checksum: hash of the other fields.
    """

    name: str
    key: str
    created: float
    seconds: float
    provenance: Mapping[str, object]
    files: dict[str, File] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=dict)
    checksum: str = ""

    @property
    def directory(self) -> str:
        """Return the name of the directory that the entry has in the store."""
        return f"{self.name}-{self.key[:16]}"

    def sealed(self) -> Manifest:
        """Return the manifest with its checksum."""
        return replace(self, checksum=_checksum(self))


def read(tree: Path) -> Manifest:
    """Read the manifest of a tree. Raises OSError and msgspec.MsgspecError."""
    return msgspec.json.decode((tree / MANIFEST).read_bytes(), type=Manifest)


def write(tree: Path, manifest: Manifest) -> None:
    """Write the manifest of a tree."""
    (tree / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def describe(tree: Path) -> tuple[dict[str, File], dict[str, int]]:
    """Return the files and links of a tree, and the modes of its directories, by relative path.

    Raises ValueError for a device, a socket, a FIFO, or a name that is not UTF-8: an image has none.
    """
    files, directories = dict[str, File](), dict[str, int]()
    for name, status in _walk(tree):
        if not _is_utf8(name):
            raise ValueError(f"the name {name!a} is not UTF-8")
        if stat.S_ISDIR(status.st_mode):
            directories[name] = status.st_mode
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            files[name] = describe_file(tree / name)
        else:
            raise ValueError(f"{name} is neither a file nor a directory nor a link")
    return files, directories


def describe_file(path: Path) -> File:
    """Return a file or link as it is."""
    status = path.lstat()
    return File(status.st_size, status.st_mtime_ns, _sha256(path, status), status.st_mode)


def changed_file(tree: Path, manifest: Manifest) -> str | None:
    """Describe the first listed file that is not as it was built: the quick comparison."""
    for name, file in manifest.files.items():
        if damage := _file_damage(tree / name, name, file, thorough=False):
            return damage
    return None


def all_damage(tree: Path, manifest: Manifest) -> list[str]:
    """Describe everything in a tree that is not as it was built: the thorough comparison."""
    found = []
    if manifest.directory != tree.name:
        found.append(f"{MANIFEST} is that of {manifest.directory}")
    if not manifest.checksum:
        return [*found, f"{MANIFEST} was written by an older version, which recorded no modes"]
    if manifest.checksum != _checksum(manifest):
        found.append(f"{MANIFEST} has changed")
    try:
        present = dict(_walk(tree))
    except OSError as error:
        return [*found, f"{error.filename} cannot be read: {error.strerror}"]
    expected = manifest.files.keys() | manifest.directories.keys() | {MANIFEST}
    found += [f"{name} was added" for name in sorted(present.keys() - expected)]
    for name, mode in manifest.directories.items():
        if name not in present:
            found.append(f"{name} is missing")
        elif present[name].st_mode != mode:
            found.append(_mode_damage(name, mode, present[name].st_mode))

    def damage(item: tuple[str, File]) -> str | None:
        name, file = item
        return _file_damage(tree / name, name, file, thorough=True)

    # hashlib releases the interpreter
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found += filter(None, pool.map(damage, manifest.files.items()))
    return found


def _file_damage(path: Path, name: str, file: File, *, thorough: bool) -> str | None:
    try:
        status = path.lstat()
    except OSError:
        return f"{name} is missing"
    if file.mode is not None and status.st_mode != file.mode:
        return _mode_damage(name, file.mode, status.st_mode)
    if status.st_size != file.size:
        return f"{name} has {status.st_size} bytes instead of {file.size}"
    if not thorough and status.st_mtime_ns == file.mtime:
        return None
    try:
        same = _sha256(path, status) == file.sha256
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None if same else f"the contents of {name} have changed"


def _mode_damage(name: str, built: int, now: int) -> str:
    if stat.S_IFMT(built) != stat.S_IFMT(now):
        return f"{name} is {_kind(now)} instead of {_kind(built)}"
    return f"{name} has the mode {stat.S_IMODE(now):o} instead of {stat.S_IMODE(built):o}"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device, a socket or a FIFO")


def _walk(tree: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below a tree with its status. Follows no links. Raises OSError."""

    def fail(error: OSError) -> None:
        raise error

    for folder, directories, names in os.walk(tree, onerror=fail):
        for each in (*directories, *names):
            path = Path(folder) / each
            yield str(path.relative_to(tree)), path.lstat()


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # os.walk decodes other bytes to surrogates
        return False
    return True


def _sha256(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    try:
        with open_regular(path, follow_links=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except NotRegularError:  # it has replaced the file meanwhile
        return ""


def _checksum(manifest: Manifest) -> str:
    text = msgspec.json.encode(replace(manifest, checksum=""), order="sorted")
    return hashlib.sha256(text).hexdigest()
