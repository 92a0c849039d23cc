"""A directory of the host in a guest that cannot mount it: a copy, over the line that there is."""

from __future__ import annotations

import contextlib
import os
import tarfile
from pathlib import Path

from harness.cells import Limits
from harness.deadline import Deadline
from harness.errors import GuestError, UsageError
from harness.guests.guest import HERE, Guest

MOST = 16 << 20  # bytes; the line takes about 4 MB/s (measured), and the guest has them in memory


class TooLargeError(UsageError):
    """The directory is more than a guest takes."""


def check(directory: Path) -> None:
    """Raise TooLargeError if a directory is more than can be copied into a guest."""
    total = 0
    for folder, _, names in os.walk(directory):
        total += sum(_size(Path(folder) / name) for name in names)
        if total > MOST:
            raise TooLargeError(
                f"{directory} has more than {MOST >> 20} MiB, and this guest can only have a copy",
                "--share a smaller directory, or take a UML guest, which sees any",
            )


def copy(directory: Path, guest: Guest, scratch: Path, deadline: Deadline) -> None:
    """Copy a directory into a guest, to HERE."""
    parcel = scratch / "here.tar"
    _pack(directory, parcel)
    try:
        guest.push(parcel, "/tmp/here.tar")
    finally:
        parcel.unlink()
    argv = ("tar", "-x", "-f", "/tmp/here.tar", "-C", HERE)
    done = guest.run(argv, Limits(), deadline)
    if done.ending.status:
        why = done.stderr.decode(errors="replace").strip()
        raise GuestError(f"{directory} cannot be unpacked in the guest: {why}")
    guest.run(("rm", "/tmp/here.tar"), Limits(), deadline)


def _pack(directory: Path, parcel: Path) -> None:
    """Pack files, directories and links; what we may not read stays out, and so do devices."""
    with tarfile.open(parcel, "w") as archive:
        for folder, names, files in os.walk(directory):
            for path in (Path(folder) / name for name in sorted(names + files)):
                if path.is_symlink() or path.is_dir() or path.is_file():
                    with contextlib.suppress(OSError):
                        archive.add(path, path.relative_to(directory), recursive=False)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # it has gone since it was listed
