"""What a run may leave on a machine: processes, mounts, cgroups, sockets, files.

The locks of the store are those of flock(2): none is held if no process is left.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 5  # after which nothing of a run may be alive, see docs/reliability.md


def adopt_orphans() -> None:
    """Make this process the parent of all orphans below it, prctl(2). So none can hide."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The resources of this machine that a run could leave, at one moment."""

    mounts: frozenset[str]
    shared_memory: frozenset[str]
    cgroups: frozenset[str]
    sockets: frozenset[str]

    @classmethod
    def now(cls) -> Machine:
        """Look at the machine."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        sockets = Path("/proc/net/unix").read_text().splitlines()
        # unlike Path.rglob, os.walk accepts that directories go while it reads
        groups = (
            Path(where) / name for where, names, _ in os.walk("/sys/fs/cgroup") for name in names
        )
        return cls(
            mounts=frozenset(line.split()[4] for line in mounts),
            shared_memory=frozenset(each.name for each in Path("/dev/shm").iterdir()),
            cgroups=frozenset(str(each) for each in groups if "foothold" in each.name),
            sockets=frozenset(line.split()[7] for line in sockets if "foothold" in line),
        )

    def added_since(self, before: Machine) -> Iterator[str]:
        """Yield what there is now and was not before."""
        for name in ("mounts", "shared_memory", "cgroups", "sockets"):
            for each in sorted(getattr(self, name) - getattr(before, name)):
                yield f"{name}: {each}"


def remaining(look: Callable[[], Iterable[str]], seconds: float = SECONDS) -> list[str]:
    """Return what `look` finds now and finds at all times for some seconds.

    Other programs of this machine also make mounts and files, but do not all keep them so long.
    """
    deadline = time.monotonic() + seconds
    found = set(look())
    while found and time.monotonic() < deadline:
        time.sleep(0.05)
        found &= set(look())
    return sorted(found)


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below one, without zombies: their command lines by process id."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in ("Z", "X"):
            parents[int(process.name)] = int(parent)
    found: dict[int, str] = {}
    below = {pid}
    while below:
        below = {each for each, parent in parents.items() if parent in below and each not in found}
        found |= {each: _command_line(each) for each in below}
    return found


def reap() -> None:
    """Collect the exit statuses of adopted processes that have ended, of no other child."""
    for pid in [int(each.name) for each in Path("/proc").glob("[0-9]*")]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == os.getpid():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def leftovers(before: Machine, others: frozenset[int]) -> Iterator[str]:
    """Yield what is left on the machine that was not there `before`, and the processes below this one.

    `others` are processes of the soak itself.
    """
    if alive := remaining(
        lambda: [line for pid, line in descendants(os.getpid()).items() if pid not in others]
    ):
        yield f"alive: {alive}"
    reap()
    yield from remaining(lambda: Machine.now().added_since(before))


def temporary_files(folder: Path) -> Iterator[str]:
    """Yield what is left in the directory for temporary files."""
    if files := [each.name for each in folder.iterdir()]:
        yield f"temporary files: {files}"


def _command_line(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
