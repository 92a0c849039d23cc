"""Opens the files of a directory that may come from elsewhere.

An unpacked run directory may hold a link to /etc/shadow, a FIFO without a writer, a link to
/dev/zero, or the name `../../evil`. So a file is opened beneath the directory without following any
link, it is known to be a regular file before it is opened for reading (opening a device may have
effects), and it is read up to a limit.

Source: openat2(2), open(2), proc(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 256 << 20  # of one file: evidence has at most 64 MiB
MOST_TREE_BYTES = 4 << 30  # of a tree that is copied
MOST_TREE_NAMES = 100_000

_OPENAT2 = 437  # include/uapi/asm-generic/unistd.h
_NO_SYMLINKS, _BENEATH = 0x04, 0x08  # RESOLVE_…, include/uapi/linux/openat2.h
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISDIR, "a directory"),
    (stat.S_ISREG, "a file"),
)  # fmt: skip


class UnsafeFileError(OSError):
    """A file that is not read: a link, a device, one that is too large, a name that leads outside."""


class RunFiles:
    """The files beneath a directory, by names relative to it. All errors are OSError.

    The directory itself may be reached by links: the user named it. `folder` is a directory beneath
    it, to which the names are relative then.
    """

    def __init__(self, directory: Path, folder: str = "") -> None:
        self.directory = directory
        self.folder = folder

    def beneath(self, folder: str) -> RunFiles:
        """Return the files of a directory beneath this one, which need not exist."""
        return RunFiles(self.directory, self._inside(folder))

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return a whole file. Raises OSError if it has more than `most` bytes."""
        data, is_cut = self.read_start(name, most)
        if is_cut:
            raise UnsafeFileError(errno.EFBIG, f"more than {most >> 20} MiB", self._path(name))
        return data

    def read_start(self, name: str, most: int) -> tuple[bytes, bool]:
        """Return the first `most` bytes of a file, and whether it has more."""
        with self.open(name) as file:
            return file.read(most), bool(file.read(1))

    def read_end(self, name: str, most: int) -> bytes:
        """Return the last `most` bytes of a file."""
        with self.open(name) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            return file.read(most)

    def open(self, name: str) -> BinaryIO:
        """Open a regular file for reading."""
        with self._found(name, stat.S_ISREG) as found:
            # the file that was examined, even if its name now belongs to another one
            return os.fdopen(os.open(f"/proc/self/fd/{found}", _READ), "rb")

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a directory, sorted."""
        with self._found(folder, stat.S_ISDIR) as found:
            return sorted(os.listdir(f"/proc/self/fd/{found}"))  # noqa: PTH208 - a descriptor

    def is_file(self, name: str) -> bool:
        """Is it a regular file?"""
        return self._is(name, stat.S_ISREG)

    def is_directory(self, name: str) -> bool:
        """Is it a directory?"""
        return self._is(name, stat.S_ISDIR)

    def copy_tree(
        self, target: Path, *, leave_out: Collection[str] = (), links_below: str = ""
    ) -> None:
        """Copy all regular files and directories to a directory, where none of them is yet.

        `leave_out` are names at any depth. Symbolic links are copied as links, but only those below
        the directory `links_below`; empty: none. Everything else is left out. Raises OSError if the
        tree has more than MOST_TREE_BYTES or MOST_TREE_NAMES.
        """
        budget = TreeBudget(self._path(""))
        pending = [""]
        while pending:
            folder = pending.pop()
            (target / folder).mkdir(parents=True, exist_ok=True)
            for each in self.names(folder):
                name = f"{folder}/{each}".lstrip("/")
                if each in leave_out:
                    continue
                budget.spend(names=1)
                with self._found(name) as found:
                    mode = os.fstat(found).st_mode
                    leads_to = os.readlink("", dir_fd=found) if stat.S_ISLNK(mode) else ""
                if leads_to and links_below and name.startswith(f"{links_below}/"):
                    (target / name).symlink_to(leads_to)
                elif stat.S_ISDIR(mode):
                    pending.append(name)
                elif stat.S_ISREG(mode):
                    self._copy_file(name, target / name, budget)

    def _copy_file(self, name: str, target: Path, budget: TreeBudget) -> None:
        with self.open(name) as source, target.open("xb") as copy:
            status = os.fstat(source.fileno())
            budget.spend(size=status.st_size)
            left = status.st_size
            while data := source.read(min(left, 1 << 20)):
                copy.write(data)
                left -= len(data)
            os.fchmod(copy.fileno(), status.st_mode & 0o777)

    def _is(self, name: str, kind: Callable[[int], bool]) -> bool:
        try:
            with self._found(name, kind):
                return True
        except OSError:
            return False

    def _inside(self, name: str) -> str:
        return "/".join(part for part in (self.folder, name) if part)

    def _path(self, name: str) -> str:
        return "/".join(part for part in (str(self.directory), self.folder, name) if part)

    @contextlib.contextmanager
    def _found(self, name: str, kind: Callable[[int], bool] | None = None) -> Iterator[int]:
        """Yield an O_PATH descriptor. Raises UnsafeFileError if the file is of another `kind`."""
        base = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = _open_beneath(base, self._inside(name))
        except OSError as error:
            raise type(error)(error.errno, error.strerror, self._path(name)) from None
        finally:
            os.close(base)
        try:
            mode = os.fstat(found).st_mode
            if kind and not kind(mode):
                what = next(text for is_kind, text in _KINDS if is_kind(mode))
                raise UnsafeFileError(errno.EINVAL, f"it is {what}", self._path(name))
            yield found
        finally:
            os.close(found)


@dataclass
class TreeBudget:
    """The bytes and names that a tree may still have. `path` names the tree in errors."""

    path: str
    size: int = MOST_TREE_BYTES
    names: int = MOST_TREE_NAMES

    def spend(self, *, size: int = 0, names: int = 0) -> None:
        """Take bytes and names from the budget. Raises UnsafeFileError if it has no more."""
        self.size -= size
        self.names -= names
        if self.size < 0 or self.names < 0:
            most = f"{MOST_TREE_BYTES >> 30} GiB or {MOST_TREE_NAMES} files"
            raise UnsafeFileError(errno.EFBIG, f"more than {most}", self.path)


def _open_beneath(base: int, name: str) -> int:
    """Open a name beneath a directory as O_PATH. A link at its end is opened itself."""
    parts = name.split("/") if name else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UnsafeFileError(errno.EINVAL, "this name is not one of a run directory", name)
    try:
        return _open_at_once(base, name or ".")
    except NotImplementedError:
        return _open_by_parts(base, parts)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)
    )  # fmt: skip


def _open_at_once(base: int, name: str) -> int:
    """Use openat2(2). Raises NotImplementedError where a kernel or a seccomp filter refuses it."""
    how = _OpenHow(_PATH, 0, _BENEATH | _NO_SYMLINKS)
    library = ctypes.CDLL(None, use_errno=True)
    found = library.syscall(
        _OPENAT2, base, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how)
    )
    if found >= 0:
        return int(found)
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EPERM):
        raise NotImplementedError
    if code == errno.ELOOP:
        raise UnsafeFileError(code, "a symbolic link leads to it", name)
    raise OSError(code, os.strerror(code), name)


def _open_by_parts(base: int, parts: Sequence[str]) -> int:
    found = os.dup(base)
    for part in parts:
        try:
            if stat.S_ISLNK(os.fstat(found).st_mode):
                raise UnsafeFileError(errno.ELOOP, "a symbolic link leads to it", part)
            following = os.open(part, _PATH, dir_fd=found)
        finally:
            os.close(found)
        found = following
    return found


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read: it may hold commands and environments."""
    with os.fdopen(os.open(path, _WRITE, 0o600), "wb") as file:
        file.write(data)
