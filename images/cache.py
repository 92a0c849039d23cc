"""A store of built directory trees.

An entry is a directory `store/NAME-KEY`, where KEY is a hash of everything it is built from. It is
built in a new directory `building/NAME-KEY+RANDOM` and renamed when it is complete, under an
advisory lock that the kernel releases when the builder dies. So two builders of one entry wait for
each other, and the next builder removes what a killed one left. `manifest.json` in an entry lists
its origin and its files, so that damage is detected before the entry is used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from foothold_lab.images.errors import ImageError, NoSpace
from foothold_lab.images.progress import Progress, no_progress

MANIFEST = "manifest.json"
_RANDOM = "+"  # before the random part of a directory name in building/


def default_root() -> Path:
    """Return the cache directory: $FOOTHOLD_CACHE, else foothold/ in the user's cache directory."""
    if chosen := os.environ.get("FOOTHOLD_CACHE"):
        return Path(chosen).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache").absolute() / "foothold"


@dataclass(frozen=True)
class File:
    """A file of an entry as it was built. Size in bytes, time in nanoseconds."""

    size: int
    mtime: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Origin and files of an entry. Times in seconds."""

    name: str
    key: str
    created: float
    seconds: float
    provenance: Mapping[str, object]
    files: dict[str, File] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A finished entry of the store."""

    path: Path
    manifest: Manifest

    def damage(self, *, thorough: bool = False) -> str | None:
        """Describe the damage of this entry, None if it is intact.

        Compares size and time of every file. If a time differs, or if `thorough`, it also compares
        the contents.
        """
        for name, file in self.manifest.files.items():
            path = self.path / name
            try:
                status = path.lstat()
            except OSError:
                return f"{name} is missing"
            if status.st_size != file.size:
                return f"{name} has {status.st_size} bytes instead of {file.size}"
            suspect = thorough or status.st_mtime_ns != file.mtime
            if suspect and _sha256(path) != file.sha256:
                return f"the contents of {name} have changed"
        return None


class Cache:
    """The store in the directory `root`. Creating the object does not touch the disk."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()
        self._threads: dict[str, threading.Lock] = {}

    def path(self, name: str, key: str) -> Path:
        """Return the path of an entry, whether it exists or not."""
        return self.root / "store" / f"{name}-{key[:16]}"

    def get(self, name: str, key: str) -> Entry | None:
        """Return an entry if it exists and is intact."""
        entry = _load(self.path(name, key))
        return entry if entry and entry.damage() is None else None

    def find(self, name: str) -> Entry | None:
        """Return the entry with this directory name, if it exists and is intact."""
        entry = _load(self.root / "store" / name)
        return entry if entry and entry.damage() is None else None

    def obtain(
        self,
        name: str,
        key: str,
        build: Callable[[Path], Mapping[str, object]],
        *,
        space: int = 0,
        progress: Progress = no_progress,
    ) -> Entry:
        """Return an entry. Build it first if it does not exist or is damaged.

        `build` fills an empty directory and returns the provenance of the entry. It may also use
        the parent of that directory, which is removed afterwards. `space` is the number of bytes
        that it needs. Raises NoSpace and what `build` raises; then nothing remains on disk.
        """
        if entry := self.get(name, key):
            return entry
        target = self.path(name, key)
        with self.locked(target.name, progress=progress):
            # another builder may have finished in the meantime
            present = _load(target)
            if present and (damage := present.damage()):
                progress(f"{name}: the cache entry is damaged ({damage}): building it again")
            elif present:
                return present
            with self._building(target.name, space) as tree:
                started = time.monotonic()
                provenance = build(tree)
                manifest = Manifest(
                    name=name,
                    key=key,
                    created=time.time(),
                    seconds=time.monotonic() - started,
                    provenance=provenance,
                    files=_files(tree),
                )
                (tree / MANIFEST).write_bytes(msgspec.json.encode(manifest))
                if target.exists():
                    _remove(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                tree.rename(target)
        built = _load(target)
        if built is None:
            raise ImageError(
                f"{target} was removed right after it was built",
                "run it again, and not together with `foothold images prune`",
            )
        return built

    def entries(self) -> Iterator[Entry]:
        """Yield all finished entries, by name."""
        store = self.root / "store"
        for path in sorted(store.iterdir()) if store.is_dir() else ():
            if entry := _load(path):
                yield entry

    def discard(self, entry: Entry) -> None:
        """Remove an entry, unless another builder holds its lock."""
        with contextlib.suppress(BlockingIOError), self.locked(entry.path.name, wait=False):
            _remove(entry.path)

    def prune(self, keep: frozenset[Path]) -> list[tuple[Path, int]]:
        """Remove all entries except `keep`, and what dead builders left. Returns (path, bytes).

        Entries and builds whose lock is held are kept.
        """
        removed = []
        for folder in ("store", "building"):
            parent = self.root / folder
            for path in sorted(parent.iterdir()) if parent.is_dir() else ():
                if path in keep:
                    continue
                lock = path.name.partition(_RANDOM)[0]
                with contextlib.suppress(BlockingIOError), self.locked(lock, wait=False):
                    removed.append((path, size_of(path)))
                    _remove(path)
        return removed

    @contextlib.contextmanager
    def locked(
        self, name: str, *, wait: bool = True, progress: Progress = no_progress
    ) -> Iterator[int]:
        """Hold the lock `name`. Yields its descriptor, for child processes that must hold it too.

        If it is held elsewhere, waits (and reports it if another process holds it), or raises
        BlockingIOError if `wait` is false.
        """
        ours = self._threads.setdefault(name, threading.Lock())
        if not ours.acquire(blocking=wait):
            raise BlockingIOError(errno.EWOULDBLOCK, "another thread holds it", name)
        try:
            with self._flocked(name, wait=wait, progress=progress) as descriptor:
                yield descriptor
        finally:
            ours.release()

    @contextlib.contextmanager
    def _flocked(self, name: str, *, wait: bool, progress: Progress) -> Iterator[int]:
        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unusable(self.root, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                progress(f"waiting for another process that is building {name}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _building(self, name: str, space: int) -> Iterator[Path]:
        """Yield an empty directory of the builder that holds the lock `name`; remove its parent
        afterwards. Raises NoSpace if fewer than `space` bytes are free.
        """
        folder = self.root / "building"
        staging = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned(folder, name)
            # a new name each time: the child of a killed builder may still write to the old one
            staging = Path(tempfile.mkdtemp(prefix=f"{name}{_RANDOM}", dir=folder))
            tree = staging / "image"
            tree.mkdir()
            free = shutil.disk_usage(staging).free
            if free < space:
                raise NoSpace(
                    f"building {name} needs {space >> 20} MiB, "
                    f"{free >> 20} MiB are free under {self.root}",
                    "free some space, run `foothold images prune`, or set FOOTHOLD_CACHE",
                )
            yield tree
        except OSError as error:
            raise _unusable(self.root, error) from error
        finally:
            if staging:
                _remove(staging)

    def _remove_abandoned(self, folder: Path, held: str) -> None:
        """Remove what killed builders left. The caller holds the lock `held`."""
        for path in folder.glob(f"*{_RANDOM}*"):
            lock = path.name.partition(_RANDOM)[0]
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                if lock != held:
                    stack.enter_context(self.locked(lock, wait=False))
                _remove(path)


def size_of(path: Path) -> int:
    """Return the bytes of all files below `path`. Links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(path)
        for name in names
    )


def _unusable(root: Path, error: OSError) -> ImageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left under {root} ({error})",
            "free some space, run `foothold images prune`, or set FOOTHOLD_CACHE",
        )
    return ImageError(
        f"the cache {root} cannot be used: {error}",
        "make it writable, or set FOOTHOLD_CACHE to a directory that is",
    )


def _sha256(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(str(path.readlink()).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(tree: Path) -> dict[str, File]:
    """Describe all files and links of a tree, by relative path."""
    files = {}
    for folder, directories, names in os.walk(tree):
        for link in [d for d in directories if (Path(folder) / d).is_symlink()]:
            names.append(link)
        for each in names:
            path = Path(folder) / each
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                files[str(path.relative_to(tree))] = File(
                    status.st_size, status.st_mtime_ns, _sha256(path)
                )
    return files


def _load(path: Path) -> Entry | None:
    try:
        return Entry(path, msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest))
    except (OSError, msgspec.MsgspecError):
        return None


def _remove(path: Path) -> None:
    """Remove a file or tree, including read-only directories from packages."""

    def writable(function: Callable[..., object], name: str, _: object) -> None:
        Path(name).parent.chmod(0o755)
        Path(name).chmod(0o755, follow_symlinks=False) if Path(name).is_dir() else None
        function(name)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=writable)
    else:
        path.unlink(missing_ok=True)
