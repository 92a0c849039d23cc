"""Opens a file that may be something else: a FIFO, a device, a directory.

Such a file is read, not mapped: the process of a mapped file that becomes shorter gets SIGBUS.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


class NotRegularError(OSError):
    """It is not a regular file."""


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file for reading, without waiting for the writer of a FIFO.

    Raises NotRegularError for any other kind of file, OSError if it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def is_directory(path: str | Path) -> bool:
    """Return whether it is a directory that this user can reach. Path.is_dir raises PermissionError below
    one that the user may not search (Python 3.11 to 3.13).
    """
    return os.path.isdir(path)  # noqa: PTH112


def overlapping_blocks(file: BinaryIO, overlap: int) -> Iterator[bytes]:
    """Yield the contents of a file in blocks that start with the last `overlap` bytes of the one before.

    So what has at most `overlap` bytes is in one block as a whole.
    """
    block = b""
    while data := file.read(_BLOCK):
        block = block[-overlap:] + data
        yield block
