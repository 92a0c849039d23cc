"""The directory of a kept guest, and what identifies it.

All kept guests of a user lie in one directory that no other user can read, in the directory for
temporary files. A guest has the same name if it is booted from the same images by the same code.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from foothold_lab.harness import __version__
from foothold_lab.harness.guests.catalogue import GuestType
from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.images.builder import Builder

SOCKET = "socket"
RECORD = "keeper.json"
LEASE = "lease"  # a session locks it as long as it uses the guest


def kept_directory() -> Path:
    """Return the directory of all kept guests of this user; made if it is not there.

    Raises InfrastructureError if another user has made it.
    """
    directory = Path(tempfile.gettempdir()).absolute() / f"foothold-kept-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise InfrastructureError(
            f"{directory} is not a directory of this user alone",
            "remove it, or set TMPDIR to another directory",
        )
    return directory


def kept_guests() -> Iterator[Path]:
    """Yield the directories of the guests that are kept, or were."""
    for record in sorted(kept_directory().glob(f"*/{RECORD}")):
        yield record.parent


def directory_of(kind: GuestType, builder: Builder) -> Path:
    """Return the directory in which a guest of this type is kept, if it is. Builds its images."""
    images = [builder.image(name).name for name in kind.images]
    words = [kind.name, str(builder.cache.root), *images, _code()]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
    return kept_directory() / f"{kind.label}-{digest}"


def _code() -> str:
    """Return what identifies the code of Foothold: a checkout changes without a new version."""
    top = Path(__file__).resolve().parents[2]
    folders = [top / name for name in ("allocator", "harness", "images")]
    changed = max(path.stat().st_mtime_ns for each in folders for path in each.rglob("*.py"))
    return f"{__version__} {top} {changed}"


@contextlib.contextmanager
def leased(directory: Path) -> Iterator[bool]:
    """Use the directory of a kept guest alone, as long as it lasts; yields whether that is possible.

    It is removed if no keeper is in it then.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    with (directory / LEASE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            if not (directory / SOCKET).exists():
                remove(directory)


def remove(directory: Path) -> None:
    """Remove the directory of a kept guest. Another session may make it again meanwhile."""
    ended = directory.with_name(f".{directory.name}-{os.getpid()}")
    with contextlib.suppress(OSError):
        directory.rename(ended)
        shutil.rmtree(ended, ignore_errors=True)
