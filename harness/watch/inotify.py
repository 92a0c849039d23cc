"""The changes of files in directories, as the kernel reports them: inotify(7).

The library of C is called directly. Libraries for this descend into every directory, also into
those that are ignored, and hold events back for up to half a second.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from foothold_lab.harness.model.errors import InfrastructureError

# sys/inotify.h
_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _OVERFLOW, _IGNORED = 0x100, 0x200, 0x4000, 0x8000
_CHANGES = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_ONLY_DIRECTORIES, _IS_DIRECTORY = 0x01000000, 0x40000000
_HEADER = struct.Struct("iIII")  # struct inotify_event


class Inotify:
    """Watches directories, but not what is below their directories. A context manager."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise _failure("changes of files cannot be watched", ctypes.get_errno())
        self._directories: dict[int, Path] = {}

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def fileno(self) -> int:
        """Return the descriptor, which is readable when there are changes."""
        return int(self._file)

    def add(self, directory: Path) -> None:
        """Watch a directory. One that has gone in the meantime is not watched.

        Raises InfrastructureError if the kernel has no more watches for this user.
        """
        mask = _CHANGES | _ONLY_DIRECTORIES
        watch = self._libc.inotify_add_watch(self._file, os.fsencode(directory), mask)
        if watch >= 0:
            self._directories[watch] = directory
        elif (number := ctypes.get_errno()) not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise _failure(f"{directory} cannot be watched", number)

    def changes(self) -> Iterator[Path]:
        """Yield the paths that have changed since. Each watched directory, if events were lost."""
        try:
            data = os.read(self._file, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0")
            at += _HEADER.size + length
            if mask & _OVERFLOW:
                yield from self._directories.values()
            elif mask & _IGNORED:
                self._directories.pop(watch, None)
            elif name and watch in self._directories:
                path = self._directories[watch] / os.fsdecode(name)
                if mask & ~_IS_DIRECTORY != _CREATE or _is_complete(path):
                    yield path


def _is_complete(path: Path) -> bool:
    """Is a path that was just created more than a file that will be written, and then closed?"""
    try:
        found = path.lstat()
    except OSError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_nlink > 1


def _failure(what: str, number: int) -> InfrastructureError:
    return InfrastructureError(
        f"{what}: {os.strerror(number)}",
        "raise the limits of this user: sysctl fs.inotify.max_user_watches=524288 "
        "fs.inotify.max_user_instances=512; or watch a smaller directory",
    )
