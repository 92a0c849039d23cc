"""A directory of the host for a guest that cannot mount it: copied with the boot payload."""

from __future__ import annotations

import os
from pathlib import Path

from foothold_lab.harness.guests.base import HOST_DIRECTORY
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images import initramfs

MOST = 32 << 20  # bytes; the guest has them in memory, and twice while they are unpacked


class CannotBringError(UsageError):
    """The directory cannot be copied into a guest."""


def check(directory: Path) -> None:
    """Raise CannotBringError if a directory is too large to copy, or not readable."""
    remedy = "--share another directory, or take a UML guest, which sees any"
    total = 0
    for folder, _, names in os.walk(directory):
        for path in (Path(folder) / name for name in names):
            if not path.is_symlink() and not os.access(path, os.R_OK):
                raise CannotBringError(f"{path} is not readable, so it cannot be copied", remedy)
            total += path.lstat().st_size
        if total > MOST:
            raise CannotBringError(
                f"{directory} has more than {MOST >> 20} MiB, too much to copy into this guest",
                remedy,
            )


def pack(directory: Path) -> bytes:
    """Return a directory as an archive that the guest unpacks at HOST_DIRECTORY."""
    return initramfs.archive(directory, prefix=f"{HOST_DIRECTORY.strip('/')}/")
