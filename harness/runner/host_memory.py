"""How much memory guests may use: limited by the machine and by the cgroups of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

MARGIN = 0.8  # of the free memory: other programs need some
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# files with the limit and the usage, and the fields of memory.stat for droppable file caches
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file")
_V2 = ("memory.max", "memory.current", "inactive_file", "active_file")


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return how much memory guests may use on this machine, in MiB.

    That is a part of the available memory (proc(5), MemAvailable), or of what the limit of a cgroup
    of this process leaves, if that is less.
    """
    available = [_fields(proc / "meminfo").get("MemAvailable:", 1 << 30) << 10]
    for folder, names in _groups(proc, cgroups):
        with contextlib.suppress(OSError, ValueError):
            available.append(_left(folder, *names))
    return int(min(available) * MARGIN) >> 20


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[Path, tuple[str, str, str, str]]]:
    """Yield the directories of this process's memory cgroups, from the innermost outwards.

    In a container the mounted cgroup may be that of the process, and the named ones not exist.
    """
    ours = proc / "self/cgroup"
    for line in ours.read_text().splitlines() if ours.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        names = _V1 if controllers else _V2
        for mount in (cgroups / "memory",) if controllers else (cgroups, cgroups / "unified"):
            group = mount / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(mount):
                    yield folder, names


def _left(folder: Path, limit: str, used: str, *droppable: str) -> int:
    """Return how many bytes a cgroup may still use; cached files count as free."""
    stat = _fields(folder / "memory.stat")
    taken = int((folder / used).read_text()) - sum(stat.get(name, 0) for name in droppable)
    return max(int((folder / limit).read_text()) - max(taken, 0), 0)


def _fields(path: Path) -> dict[str, int]:
    """Read lines that consist of a name and a number."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
