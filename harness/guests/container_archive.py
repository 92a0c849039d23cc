"""Archives of files and directories, as a container engine takes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from foothold_lab.harness.guests.accounts import Account
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision

MOST_BYTES = 256 << 20  # of a file that is read
_NONE: Mapping[str, int] = MappingProxyType({})


class _Archive:
    """An archive that is written to memory, and ends with its two empty blocks, tar(5).

    Python adds empty blocks up to a multiple of 10 KiB. The process of Podman that unpacks ends at the
    second one. Podman fails if it still writes the others then.
    """

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self._buffer, mode="w")  # noqa: SIM115
        self.data = b""  # complete at the end of the `with` block

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        end = self.tar.offset + 2 * tarfile.BLOCKSIZE
        self.tar.close()
        self.data = self._buffer.getvalue()[:end]


def tar_of(path: Path, name: str = ".", directories: Mapping[str, int] = _NONE) -> bytes:
    """Pack a file or a directory's contents, and directories with these modes, owned by root."""
    with _Archive() as archive:
        archive.tar.add(path, name, filter=_by_root)
        for place, mode in directories.items():
            archive.tar.addfile(_directory(place, mode))
    return archive.data


def tar_of_tree(tree: Path) -> bytes:
    """Pack the files of a tree at their paths, owned by root.

    Directories are left out, except empty ones: where the image has a directory or a link to one, it
    keeps it. The engine makes those that are missing.
    """
    with _Archive() as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
                name = str(path.relative_to(tree))
                archive.tar.add(path, name, filter=_by_root, recursive=False)
    return archive.data


def directory_for(account: Account, path: str, mode: int, files: Path | None = None) -> bytes:
    """Pack a directory of a user at an absolute path, with copies of all below another."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid, member.uname, member.gname = account.uid, account.gid, "", ""
        return member

    with _Archive() as archive:
        archive.tar.addfile(owned(_directory(path, mode)))
        for each in sorted(files.iterdir()) if files else ():
            archive.tar.add(each, f"{path[1:]}/{each.name}", filter=owned)
    return archive.data


def _directory(path: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path[1:])
    member.type, member.mode = tarfile.DIRTYPE, mode
    return member


def read_file(container: Any, path: str) -> bytes:
    """Return the content of a file of a container.

    Raises GuestError if it is no regular file, or has more than MOST_BYTES.
    """
    stream, _ = container.get_archive(path)
    packed = bytearray()
    for block in stream:
        packed += block
        if len(packed) > MOST_BYTES:
            what = f"{path} has more than {MOST_BYTES >> 20} MiB in the container"
            raise GuestError(what, code=Code.GUEST_FILES)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        # names in an archive of a guest are not trusted: only the bytes of one file are used
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)):
                return file.read()
    raise GuestError(f"{path} is not a file in the container", code=Code.GUEST_FILES)


def in_new_directory(
    container: Any, how: Supervision, path: str, account: Account, files: Path | None
) -> Supervision:
    """Make a directory of a user in a container, with copies of files, and start the program there."""
    container.put_archive("/", directory_for(account, path, 0o755, files))
    return replace(how, directory=path, fresh_directory=False, made_directory=True)


def _by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode |= 0o555 if member.isdir() else 0
    return member
