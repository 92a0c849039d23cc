"""A working directory of this machine for one program: fresh, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.transport.frames import unknown_user


@contextlib.contextmanager
def working_directory(parent: Path, how: Supervision) -> Iterator[Supervision]:
    """Make the fresh working directory that `how` asks for, in `parent`; remove it at the end. That
    of another user is in the directory for temporary files.

    Yields `how` with that directory, and without the root that only the agent in a guest makes.
    Without `fresh_directory` nothing is made.
    """
    how = replace(how, own_root=False, overlay="", image="")
    if not how.fresh_directory:
        yield how
        return
    if how.user:  # the directory of a run may be below one that only its own user can enter
        parent = Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="work-", ignore_cleanup_errors=True) as own:
        if how.work_files:
            shutil.copytree(how.work_files, own, dirs_exist_ok=True)
        if how.user:
            _give(Path(own), how.user)
        yield replace(how, directory=own, fresh_directory=False, made_directory=True)


def _give(directory: Path, user: str) -> None:
    """Make a user the owner of a directory and of all that is in it."""
    owner: int | str = int(user) if user.isdecimal() else user
    try:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, owner)
    except LookupError as error:
        raise unknown_user(user) from error


def check_user(guest: str, user: str, *paths: str | Path) -> None:
    """Check that a program of this machine's kernel can become `user`, and reach these paths then.

    Raises UnsupportedError. An empty `user` is the user of this process.
    """
    if user and os.geteuid() != 0:
        raise UnsupportedError(
            f"only root can run a program as another user on {guest}",
            "run Foothold as that user, or take another guest",
            code=Code.UNSUPPORTED_SUBJECT,
        )
    if user and (closed := closed_directory(user, *paths)):
        raise UnsupportedError(
            f"the user `{user}` may not search the directory {closed}",
            "let this user search it, set FOOTHOLD_CACHE and --run-dir to directories that the user "
            "can reach, or take another guest",
            code=Code.UNSUPPORTED_SUBJECT,
        )


def closed_directory(user: str, *paths: str | Path) -> Path | None:
    """Return the first directory above these paths that the user cannot enter.

    Return None if the user can enter all of them, or if this machine does not have the user. Access
    control lists are not considered.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        uid, groups = entry.pw_uid, set(os.getgrouplist(entry.pw_name, entry.pw_gid))
    except KeyError:
        uid, groups = (int(user) if user.isdecimal() else -1), set()
    if uid <= 0:
        return None
    for directory in (parent for path in paths for parent in Path(path).resolve().parents):
        status = directory.stat()
        bit = stat.S_IXUSR if status.st_uid == uid else stat.S_IXOTH
        if status.st_uid != uid and status.st_gid in groups:
            bit = stat.S_IXGRP
        if not status.st_mode & bit:
            return directory
    return None
