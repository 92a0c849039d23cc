"""Unique names of processes, and whether such a process is alive."""

from __future__ import annotations

import os
from pathlib import Path


def this_process() -> str:
    """Return a name of this process that no other has: boot of the machine, pid namespace, pid, start time."""
    return f"{_where()} {os.getpid()} {_started(os.getpid())}"


def is_alive(name: str) -> bool:
    """Is the process of that name alive? A process of another pid namespace counts as alive."""
    boot, namespace, pid, started = (name.split() + [""] * 4)[:4]
    here_boot, here_namespace = _where().split()
    if boot != here_boot:
        return False
    return namespace != here_namespace or _started(int(pid)) == started


def _where() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    """Return the start of a process in clock ticks since boot (proc_pid_stat(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # dead, but not yet reaped
