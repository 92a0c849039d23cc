"""Archives of files and directories, as a container engine takes them."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.guests.accounts import Account
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision

MOST_BYTES = 256 << 20  # of a file that is read


def tar_of(path: Path, name: str = ".") -> bytes:
    """Pack a file or a directory's contents, owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, name, filter=_by_root)
    return buffer.getvalue()


def tar_of_tree(tree: Path) -> bytes:
    """Pack the files of a tree at their paths, owned by root.

    Directories are left out, except empty ones: where the image has a directory or a link to one, it
    keeps it. The engine makes those that are missing.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
                archive.add(path, str(path.relative_to(tree)), filter=_by_root, recursive=False)
    return buffer.getvalue()


def directory_for(account: Account, path: str, mode: int, files: Path | None = None) -> bytes:
    """Pack a directory of a user at an absolute path, with copies of all below another."""
    buffer = io.BytesIO()

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid, member.uname, member.gname = account.uid, account.gid, "", ""
        return member

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = owned(tarfile.TarInfo(path[1:]))
        member.type, member.mode = tarfile.DIRTYPE, mode
        archive.addfile(member)
        for each in sorted(files.iterdir()) if files else ():
            archive.add(each, f"{path[1:]}/{each.name}", filter=owned)
    return buffer.getvalue()


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
