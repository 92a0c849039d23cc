"""A cgroup of this machine for the processes of one program, by which all of them can be killed.

The program may have killed its supervisor and its keeper: images/agent/guest_keeper.c. No controller
is enabled, so nothing of the program is limited or counted. Source: the kernel's
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import select
from pathlib import Path

from foothold_lab.harness.model.deadline import Deadline

END_SECONDS = 10.0  # for killed processes to be gone; they are within 0.01 s
_UNIFIED = Path("/sys/fs/cgroup/unified")
_HIERARCHIES = (Path("/sys/fs/cgroup"), _UNIFIED)  # where systemd mounts version 2
_LEGACY = Path("/sys/fs/cgroup/systemd")  # its own of version 1, on a host with both


def make_cgroup() -> Path | None:
    """Make a cgroup below that of this process. None: this user may not, or the kernel cannot kill
    a cgroup (Linux before 5.14, or version 1 alone).
    """
    if (parent := _own_cgroup()) is None:
        return None
    directory = parent / f"foothold-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        directory.mkdir()
    except OSError:
        return None
    if (directory / "cgroup.kill").exists():
        return directory
    directory.rmdir()
    return None


def end_cgroup(directory: Path) -> bool:
    """Kill all processes of a cgroup and remove it. Returns whether all of them have ended.

    False as well if the cgroup is gone: the keeper has removed it, and may not have used it.
    """
    try:
        return _ended(directory)
    finally:
        _remove_copy(directory)


def _ended(directory: Path) -> bool:
    if not os.path.lexists(directory):
        return False
    deadline = Deadline.after(END_SECONDS)
    with contextlib.suppress(OSError), (directory / "cgroup.events").open("rb") as events:
        changed = select.poll()
        changed.register(events, select.POLLPRI)
        (directory / "cgroup.kill").write_text("1")
        while not deadline.expired:
            events.seek(0)
            events.read()  # a change after this wakes poll
            if _removed(directory):
                return True
            changed.poll(deadline.remaining * 1000)
    return False


def _remove_copy(directory: Path) -> None:
    """Remove the cgroup of the same path that systemd-nspawn makes in systemd's hierarchy of version 1,
    where a host has both versions. Often there is none.
    """
    if directory.is_relative_to(_UNIFIED):
        with contextlib.suppress(OSError):
            _removed(_LEGACY / directory.relative_to(_UNIFIED))


def _removed(directory: Path) -> bool:
    """Remove a cgroup with those that the program has made in it; False if a process is left."""
    try:
        for below, _, _ in os.walk(directory, topdown=False):
            Path(below).rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@functools.cache
def _own_cgroup() -> Path | None:
    """Return the directory of the cgroup of this process in the hierarchy of version 2."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                own = line.removeprefix("0::/")
                found = (root / own for root in _HIERARCHIES)
                return next(
                    (each for each in found if (each / "cgroup.controllers").exists()), None
                )
    return None
