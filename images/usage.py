"""Marks on directories of the store that a process uses: shared locks, flock(2).

A mark needs no permission to write, so a second user of a shared store can set it. The kernel
releases it with the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path


class Usage:
    """A mark on a directory, from construction to `close` or the end of the object.

    Raises FileNotFoundError if the directory is absent, OSError if it cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directory = directory
        # a file system without locks is one that no other process prunes
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        if not self._is_in_place():
            self.close()
            raise FileNotFoundError(errno.ENOENT, "it has been removed", str(directory))

    def becomes_exclusive(self) -> bool:
        """Return whether no other process marks the directory. None can until `close`."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return self._is_in_place()

    def moved(self, directory: Path) -> None:
        """Note that the marked directory has been renamed to `directory`."""
        self._directory = directory

    def close(self) -> None:
        """Remove the mark."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()

    def _is_in_place(self) -> bool:
        ours = os.fstat(self._descriptor)
        try:
            there = self._directory.stat(follow_symlinks=False)
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
