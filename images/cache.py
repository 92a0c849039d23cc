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
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from foothold_lab.images import manifest
from foothold_lab.images.default_root import default_root
from foothold_lab.images.errors import ImageError, NoSpace, ReadOnlyStore
from foothold_lab.images.manifest import Manifest
from foothold_lab.images.processes import signals_deferred
from foothold_lab.images.progress import Progress, no_progress
from foothold_lab.images.usage import Usage

DEBS = "debs"  # the directory with downloaded packages of Debian
WHEELS = "wheels"  # that with wheels and packages of npm
INDEXES = "apt"  # the directory with the package indexes; the lock of each is apt-NAME
_PLACE = "place"  # the file with the path that the store had when its images were built
_RANDOM = "+"  # before the random part of a directory name in building/
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Entry:
    """A finished entry of the store. It is not pruned while this object lives."""

    path: Path
    manifest: Manifest
    usage: Usage = field(compare=False, repr=False)

    def damage(self) -> str | None:
        """Describe the damage that a quick comparison finds, None if it finds none."""
        return manifest.changed_file(self.path, self.manifest)

    def all_damage(self) -> list[str]:
        """Describe all damage. Reads every file."""
        return manifest.all_damage(self.path, self.manifest)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A directory that was to be removed. Size in bytes. `obstacle` says why it is still there."""

    path: Path
    size: int = 0
    obstacle: str = ""


class Cache:
    """The store in the directory `root`. Creating the object writes nothing."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = _path_when_built(root or default_root())
        self._threads: dict[str, threading.Lock] = {}
        self._in_place = False  # as far as it is known

    def path(self, name: str, key: str) -> Path:
        """Return the path of an entry, whether it exists or not."""
        return self.root / "store" / f"{name}-{key[:16]}"

    def get(self, name: str, key: str) -> Entry | None:
        """Return an entry if it exists and is intact."""
        entry = _load(self.path(name, key))
        return entry if entry and entry.damage() is None else None

    def find(self, name: str) -> Entry | None:
        """Return the entry with this directory name, if it exists and is intact.

        The name may come from a run directory: it must be the one that the entry's manifest gives.
        """
        if "/" in name or "\0" in name:
            return None
        entry = _load(self.root / "store" / name)
        if entry is None or self.path(entry.manifest.name, entry.manifest.key) != entry.path:
            return None
        return entry if entry.damage() is None else None

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
            if not (self.root / _PLACE).exists():
                self.set_place()
            # another builder may have finished in the meantime
            present = _load(target)
            if present and (damage := present.damage()):
                progress(f"{name}: the cache entry is damaged ({damage}): building it again")
            elif present:
                return present
            with self._building(target.name, space) as tree:
                started = time.monotonic()
                provenance = build(tree)
                files, directories = _describe(tree)
                built = Manifest(
                    name=name,
                    key=key,
                    created=time.time(),
                    seconds=time.monotonic() - started,
                    provenance=provenance,
                    files=files,
                    directories=directories,
                ).sealed()
                manifest.write(tree, built)
                usage = Usage(tree)  # before it can be pruned
                if os.path.lexists(target):
                    target.rename(tree.with_name("damaged"))
                target.parent.mkdir(parents=True, exist_ok=True)
                tree.rename(target)
                usage.moved(target)
        return Entry(target, built, usage)

    def build_again(
        self, entry: Entry, build: Callable[[Path], object], *, space: int = 0
    ) -> Manifest:
        """Build an entry a second time, as `obtain` does, and return what its manifest would be.

        The entry stays, and the second tree is removed.
        """
        target = entry.path
        if not os.access(self.root, os.W_OK):
            raise ReadOnlyStore(
                f"this user cannot write to the image store {self.root}, in which {entry.manifest.name} "
                "is to be built again",
                "run it as the owner of the store, or set FOOTHOLD_CACHE to a directory of your own",
            )
        with self.locked(target.name), self._building(target.name, space) as tree:
            started = time.monotonic()
            build(tree)
            files, directories = _describe(tree)
            seconds = time.monotonic() - started
        return replace(entry.manifest, files=files, directories=directories, seconds=seconds)

    def built_at(self) -> Path:
        """Return the path that the store had when its images were built. Programs contain it."""
        try:
            return Path((self.root / _PLACE).read_text())
        except OSError:
            return self.root

    def check_place(self) -> None:
        """Raise ImageError if the store was moved: its programs would not start."""
        built_at = self.root if self._in_place else self.built_at()
        self._in_place = built_at == self.root
        if not self._in_place:
            raise ImageError(
                f"the image store {self.root} was built at {built_at}, and its programs contain "
                "that path",
                "`foothold images pack FILE`, then `foothold images unpack FILE` corrects them; "
                "or move it back",
            )

    def set_place(self) -> None:
        """Note that the images of the store are for its present path."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.note_place(self.root, self.root)
        self._in_place = True

    @staticmethod
    def note_place(tree: Path, place: Path) -> None:
        """Note in the tree of a store that its images are for `place`."""
        (tree / _PLACE).write_text(str(place))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty directory on the file system of the store, which is removed afterwards."""
        with self.locked("unpack"), self._building("unpack", 0) as folder:
            yield folder

    def add(self, tree: Path, listed: Manifest) -> None:
        """Move a complete tree with its manifest into the store, unless its entry is there."""
        target = self.path(listed.name, listed.key)
        with self.locked(target.name):
            if self.get(listed.name, listed.key):
                return
            if os.path.lexists(target):
                self._remove_entry(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            tree.rename(target)

    def entries(self) -> Iterator[Entry]:
        """Yield all finished entries, by name."""
        for path in self.directories():
            if entry := _load(path):
                yield entry

    def directories(self) -> list[Path]:
        """Return the paths of all entries, finished or damaged, by name."""
        return self._list("store")

    def is_writable(self) -> bool:
        """Return whether this user can add entries."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        return os.access(place, os.W_OK)

    def load(self, path: Path) -> Entry | None:
        """Return the entry at a path of `directories`, None if its manifest cannot be read."""
        return _load(path)

    def discard(self, entry: Entry) -> bool:
        """Remove an entry although it may be in use, and return whether it is gone.

        An entry that a builder makes again at this moment stays. A program that has opened files of
        the entry keeps them.
        """
        try:
            with self.locked(entry.path.name, wait=False):
                self._remove_entry(entry.path)
        except (BlockingIOError, ImageError):
            return False
        return True

    def remove(self, path: Path, usage: Usage | None = None) -> Removal:
        """Remove what is in the store under this path, unless a process builds or uses it.

        `usage` is a mark that the caller has on the directory, else this function sets one.
        """
        try:
            with self.locked(path.name, wait=False):
                if not usage and path.is_dir() and not path.is_symlink():
                    usage = Usage(path)
                if usage and not usage.becomes_exclusive():
                    return Removal(path=path, obstacle="it is in use")
                size = size_of(path)
                self._remove_entry(path)
        except BlockingIOError:
            return Removal(path=path, obstacle="it is being built")
        except (OSError, ImageError) as error:
            return Removal(path=path, obstacle=str(error))
        finally:
            if usage:
                usage.close()
        return Removal(path=path, size=size)

    @contextlib.contextmanager
    def downloads_kept(self) -> Iterator[None]:
        """Keep other processes from removing downloaded files."""
        with contextlib.closing(self._mark_downloads()):
            yield

    def discard_downloads(self, files: Iterable[Path]) -> None:
        """Remove downloaded files, and the package indexes, unless another process uses some now."""
        with contextlib.closing(self._mark_downloads()) as mark:
            if mark.becomes_exclusive():
                for file in files:
                    file.unlink(missing_ok=True)
                self._remove_indexes()

    def _mark_downloads(self) -> Usage:
        directory = self.root / DEBS
        directory.mkdir(parents=True, exist_ok=True)
        return Usage(directory)

    def _remove_downloads(self) -> list[Removal]:
        """Remove all downloaded files. Returns a description for each directory that had some."""
        filled = [self.root / each for each in (DEBS, WHEELS) if self._list(each)]
        if not filled:
            return []
        with contextlib.closing(self._mark_downloads()) as mark:
            if not mark.becomes_exclusive():
                return [Removal(path=each, obstacle="a build uses it") for each in filled]
            return [self._empty(each) for each in filled]

    def _empty(self, directory: Path) -> Removal:
        size = size_of(directory)
        try:
            for path in directory.iterdir():
                _remove(path)
        except OSError as error:
            return Removal(path=directory, obstacle=str(error))
        return Removal(path=directory, size=size)

    def prune(self, keep: frozenset[Path]) -> list[Removal]:
        """Remove all entries except `keep`, what dead builders left, all downloaded packages and all
        package indexes, which are downloaded again when they are needed.

        What a process builds or uses stays, with that obstacle.
        """
        entries = [self.remove(path) for path in self.directories() if path not in keep]
        staging = [
            self._remove_unlocked(path, path.name.partition(_RANDOM)[0])
            for path in self._list("building")
        ]
        return entries + staging + self._remove_indexes() + self._remove_downloads()

    def _remove_indexes(self) -> list[Removal]:
        return [self._remove_unlocked(path, f"apt-{path.name}") for path in self._list(INDEXES)]

    def _list(self, folder: str) -> list[Path]:
        try:
            return sorted((self.root / folder).iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(self.root, error) from error

    def _remove_unlocked(self, path: Path, lock: str) -> Removal:
        try:
            with self.locked(lock, wait=False):
                size = size_of(path)
                _remove(path)
        except BlockingIOError:
            return Removal(path=path, obstacle="a build uses it")
        except (OSError, ImageError) as error:  # the child of a killed builder still writes
            return Removal(path=path, obstacle=str(error))
        return Removal(path=path, size=size)

    def _remove_entry(self, path: Path) -> None:
        """Move an entry out of the store, then remove it: the store never has half of one. The
        caller holds its lock.
        """
        try:
            building = self.root / "building"
            building.mkdir(parents=True, exist_ok=True)
            grave = Path(tempfile.mkdtemp(prefix=f"{path.name}{_RANDOM}", dir=building))
            path.rename(grave / "removed")
        except OSError as error:
            raise _unusable(self.root, error) from error
        with contextlib.suppress(OSError):  # the next builder removes the rest
            _remove(grave)

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
        descriptor = self._open_lock(name)
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

    def _open_lock(self, name: str) -> int:
        """Open the lock of a builder. A user who cannot write to the store can wait for one."""
        path = self.root / "locks" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno in _FORBIDDEN:
                with contextlib.suppress(OSError):
                    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                raise _read_only(self.root, name, error) from error
            raise _unusable(self.root, error) from error

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
            with signals_deferred():
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
            if error.errno in _FORBIDDEN and staging is None:
                raise _read_only(self.root, name, error) from error
            raise _unusable(self.root, error) from error
        finally:
            if staging:
                # an error: the next builder removes the rest
                with signals_deferred(), contextlib.suppress(OSError):
                    _remove(staging)

    def _remove_abandoned(self, folder: Path, held: str) -> None:
        """Remove what killed builders left. The caller holds the lock `held`."""
        for path in folder.glob(f"*{_RANDOM}*"):
            lock = path.name.partition(_RANDOM)[0]
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                if lock != held:
                    stack.enter_context(self.locked(lock, wait=False))
                _remove(path)


def _path_when_built(root: Path) -> Path:
    """Return the path of a store for which its images were built, if it still leads there: the store
    may be reached by several paths, through a link or a mount.
    """
    with contextlib.suppress(OSError):
        recorded = Path((root / _PLACE).read_text())
        if recorded.samefile(root):
            return recorded
    return root


def size_of(path: Path) -> int:
    """Return the bytes that `path` and all files below it take on disk. A sparse file counts with its
    blocks, a file with several names once. Links are not followed. What is removed meanwhile does
    not count.
    """
    blocks: dict[tuple[int, int], int] = {}
    for folder, directories, names in os.walk(path):
        for name in (".", *directories, *names):
            with contextlib.suppress(FileNotFoundError):
                status = (Path(folder) / name).lstat()
                blocks[status.st_dev, status.st_ino] = status.st_blocks
    total = sum(blocks.values()) if blocks else path.lstat().st_blocks
    return total * 512  # the unit of st_blocks (stat(3type))


def _read_only(root: Path, name: str, error: OSError) -> ImageError:
    return ReadOnlyStore(
        f"the image store {root} lacks {name}, and this user cannot add it: {error.strerror}",
        "ask its owner to run `foothold images build`, or set FOOTHOLD_CACHE to a directory "
        "of your own",
    )


def _unusable(root: Path, error: OSError) -> ImageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left under {root} ({error})",
            "free some space, run `foothold images prune`, or set FOOTHOLD_CACHE",
        )
    return ImageError(
        f"the image store {root} cannot be used: {error}",
        "set FOOTHOLD_CACHE to a directory that you can write to",
    )


def _describe(tree: Path) -> tuple[dict[str, manifest.File], dict[str, int]]:
    try:
        _remove_setuid(tree)
        return manifest.describe(tree)
    except ValueError as error:
        raise ImageError(f"the image would be unsafe: {error}", "report this") from error


def _remove_setuid(tree: Path) -> None:
    """Make programs of packages run as their user: the store may be readable for all users."""
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                path.chmod(stat.S_IMODE(mode) & 0o777)


def _load(path: Path) -> Entry | None:
    try:
        usage = Usage(path)
        return Entry(path, manifest.read(path), usage)
    except (OSError, msgspec.MsgspecError):
        return None


def _remove(path: Path) -> None:
    """Remove a file or tree, including read-only directories from packages. Raises OSError if a
    process still writes there.
    """

    def retry(function: Callable[..., object], name: str, info: Any) -> None:
        if isinstance(info[1], FileNotFoundError):
            return  # another process removed it
        if info[1].errno not in _FORBIDDEN:
            raise info[1]
        place = Path(name)
        place.parent.chmod(0o755)
        if place.is_dir() and not place.is_symlink():
            place.chmod(0o755)
        if function in (os.unlink, os.rmdir):
            function(name)
        else:  # the directory could not be read
            shutil.rmtree(place)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=retry)
    else:
        path.unlink(missing_ok=True)
