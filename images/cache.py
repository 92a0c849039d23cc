"""A store of built trees.

An entry is a directory `store/NAME-KEY`, KEY being a hash of all that went in. It is built in
`building/NAME-KEY` and renamed when it is whole, under an advisory lock which the kernel drops with
its holder: two builders wait for each other, and one that is killed leaves only a directory that
the next one removes. `manifest.json` inside says what went in and what came out, so that damage is
noticed before it is booted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from foothold_lab.images.errors import ImageError, NoSpace
from foothold_lab.images.progress import Say, silence

MANIFEST = "manifest.json"


def default_root() -> Path:
    """Where images are kept: $FOOTHOLD_CACHE, else foothold/ in the user's cache directory."""
    if chosen := os.environ.get("FOOTHOLD_CACHE"):
        return Path(chosen).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache").absolute() / "foothold"


@dataclass(frozen=True)
class File:
    """What an entry's file was when it was built; sizes in bytes, time in ns."""

    size: int
    mtime: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an entry is made of."""

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
        """Say what is wrong with this entry, or None.

        Sizes and times of every file are compared; where a time differs (and everywhere, if
        `thorough`), the contents are.
        """
        for name, file in self.manifest.files.items():
            path = self.path / name
            try:
                status = path.lstat()
            except OSError:
                return f"{name} is missing"
            if status.st_size != file.size:
                return f"{name} has {status.st_size} bytes instead of {file.size}"
            doubtful = thorough or status.st_mtime_ns != file.mtime
            if doubtful and _sha256(path) != file.sha256:
                return f"{name} has other contents than when it was built"
        return None


class Cache:
    """The store below `root`. Creating one touches nothing on disk."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()
        self._threads: dict[str, threading.Lock] = {}

    def path(self, name: str, key: str) -> Path:
        """Where the entry is, or will be: known before it is built."""
        return self.root / "store" / f"{name}-{key[:16]}"

    def get(self, name: str, key: str) -> Entry | None:
        """Return the entry if it is there and undamaged."""
        entry = _load(self.path(name, key))
        return entry if entry and entry.damage() is None else None

    def named(self, name: str) -> Entry | None:
        """Return the entry whose directory has this name, if it is there and undamaged."""
        entry = _load(self.root / "store" / name)
        return entry if entry and entry.damage() is None else None

    def obtain(
        self,
        name: str,
        key: str,
        build: Callable[[Path], Mapping[str, object]],
        *,
        need: int = 0,
        say: Say = silence,
    ) -> Entry:
        """Return the entry, building it first if it is not there or is damaged.

        `build` fills an empty directory and answers the entry's provenance; `need` is the space
        in bytes that it takes. Raises NoSpace, or what `build` raises; nothing is left then.
        """
        if entry := self.get(name, key):
            return entry
        target = self.path(name, key)
        with self.locked(target.name, say=say):
            # another builder may have finished while we waited
            present = _load(target)
            if present and (damage := present.damage()):
                say(f"{name}: cache entry is damaged ({damage}): building it again")
            elif present:
                return present
            staging = self.root / "building" / target.name
            with self._room(staging, need):
                started = time.monotonic()
                provenance = build(staging)
                _seal(staging, name, key, time.monotonic() - started, provenance)
                if target.exists():
                    _remove(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                staging.rename(target)
        built = _load(target)
        if built is None:
            raise ImageError(f"{target} vanished as soon as it was built", "is something pruning?")
        return built

    def entries(self) -> Iterator[Entry]:
        """All finished entries, by name."""
        store = self.root / "store"
        for path in sorted(store.iterdir()) if store.is_dir() else ():
            if entry := _load(path):
                yield entry

    def discard(self, entry: Entry) -> None:
        """Remove an entry that is of no use, unless somebody is about to replace it."""
        with contextlib.suppress(BlockingIOError), self.locked(entry.path.name, wait=False):
            _remove(entry.path)

    def prune(self, keep: frozenset[Path]) -> list[tuple[Path, int]]:
        """Remove every entry but `keep`, and what dead builders left; answer (path, bytes) each.

        An entry or a building that somebody holds a lock on is left alone.
        """
        removed = []
        for folder in ("store", "building"):
            parent = self.root / folder
            for path in sorted(parent.iterdir()) if parent.is_dir() else ():
                if path in keep:
                    continue
                with contextlib.suppress(BlockingIOError), self.locked(path.name, wait=False):
                    removed.append((path, size_of(path)))
                    _remove(path)
        return removed

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = True, say: Say = silence) -> Iterator[int]:
        """Hold the lock called `name`; yields its descriptor, for children who must hold it too.

        Raises BlockingIOError if somebody else has it and `wait` is false. Waiting for another
        process is told; threads of this one wait for each other silently.
        """
        ours = self._threads.setdefault(name, threading.Lock())
        if not ours.acquire(blocking=wait):
            raise BlockingIOError(errno.EWOULDBLOCK, "another thread holds it", name)
        try:
            with self._flocked(name, wait=wait, say=say) as descriptor:
                yield descriptor
        finally:
            ours.release()

    @contextlib.contextmanager
    def _flocked(self, name: str, *, wait: bool, say: Say) -> Iterator[int]:
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
                say(f"waiting for another process that works on {name}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _room(self, staging: Path, need: int) -> Iterator[None]:
        """An empty staging directory with `need` bytes free; gone afterwards if still there."""
        try:
            if staging.exists():
                _remove(staging)
            staging.mkdir(parents=True)
            free = shutil.disk_usage(staging).free
            if free < need:
                raise NoSpace(
                    f"building {staging.name} needs {need >> 20} MiB, "
                    f"{free >> 20} MiB are free under {self.root}",
                    "free some space, run `foothold images prune`, or set FOOTHOLD_CACHE",
                )
            yield
        except OSError as error:
            raise _unusable(self.root, error) from error
        finally:
            if staging.exists():
                _remove(staging)


def size_of(path: Path) -> int:
    """Bytes on disk below `path`, links not followed."""
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


def _seal(
    tree: Path, name: str, key: str, seconds: float, provenance: Mapping[str, object]
) -> None:
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
    manifest = Manifest(name, key, time.time(), seconds, provenance, files)
    (tree / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def _load(path: Path) -> Entry | None:
    try:
        return Entry(path, msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest))
    except (OSError, msgspec.MsgspecError):
        return None


def _remove(path: Path) -> None:
    """Remove a file or tree, also one whose directories came out of a package read-only."""

    def writable(function: Callable[..., object], name: str, _: object) -> None:
        Path(name).parent.chmod(0o755)
        Path(name).chmod(0o755, follow_symlinks=False) if Path(name).is_dir() else None
        function(name)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=writable)
    else:
        path.unlink(missing_ok=True)
