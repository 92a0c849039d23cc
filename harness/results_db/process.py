"""Who writes: a name for a process that no other process will ever have, and whether it is alive."""

from __future__ import annotations

import os
from pathlib import Path


def this_process() -> str:
    """Name this process: by the boot of its machine, its pid namespace, its pid and its start."""
    return f"{_where()} {os.getpid()} {_started(os.getpid())}"


def is_alive(name: str) -> bool:
    """Is there still the process of that name? One that cannot be seen from here is alive."""
    boot, namespace, pid, started = (name.split() + [""] * 4)[:4]
    here_boot, here_namespace = _where().split()
    if boot != here_boot:
        return False
    return namespace != here_namespace or _started(int(pid)) == started


def _where() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    """Clock ticks from the machine's boot to the process's start (proc_pid_stat(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # dead, and not yet waited for
