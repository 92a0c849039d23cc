"""How much memory guests may take: of the machine, and of every cgroup around us."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.runner.host_memory import MARGIN, memory_here

MIB = 1 << 20
INNER = "user.slice/lab.scope"


def machine(
    root: Path, available: int, lines: str, groups: dict[str, tuple[object, int, int]], v1: bool
) -> tuple[Path, Path]:
    """/proc and /sys/fs/cgroup: of each cgroup its limit, its use, and the files it caches."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available << 10} kB\n")
    (proc / "self/cgroup").write_text(lines)
    names = ("limit_in_bytes", "usage_in_bytes") if v1 else ("max", "current")
    prefix = "total_" if v1 else ""
    for name, (limit, used, cached) in groups.items():
        folder = cgroups / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, value in zip(names, (limit, used), strict=True):
            (folder / f"memory.{file}").write_text(f"{value}\n")
        (folder / "memory.stat").write_text(
            f"{prefix}inactive_file {cached}\n{prefix}active_file 0\nanon 1\n"
        )
    return proc, cgroups


def left(mebibytes: int) -> int:
    return int(mebibytes * MARGIN)


def test_there_is_memory_here() -> None:
    assert 64 < memory_here() < 1 << 30


@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("limited", [INNER, "user.slice", ""])
def test_the_least_of_all_cgroups_around_us(limited: str, v1: bool, tmp_path: Path) -> None:
    hierarchy = "memory/" if v1 else ""
    without: object = (1 << 63) - 4096 if v1 else "max"
    groups: dict[str, tuple[object, int, int]] = {
        hierarchy + each: (without, 100 * MIB, 0) for each in (INNER, "user.slice", "")
    }
    # of what it uses, 500 MiB are files that it has read
    groups[hierarchy + limited] = (2048 * MIB, 700 * MIB, 500 * MIB)
    line = f"4:cpu,memory:/{INNER}" if v1 else f"0::/{INNER}"
    here = machine(tmp_path, 9000, f"9:name=systemd:/\n{line}\n", groups, v1)
    assert memory_here(*here) == left(2048 - 200)


def test_in_a_container_the_cgroup_that_is_mounted_is_our_own(tmp_path: Path) -> None:
    groups: dict[str, tuple[object, int, int]] = {"memory": (512 * MIB, 112 * MIB, 0)}
    here = machine(tmp_path, 9000, "4:memory:/docker/0123abcd\n0::/\n", groups, True)
    assert memory_here(*here) == left(400)


def test_a_machine_without_cgroups(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, 1600, "", {}, True)
    assert memory_here(proc, cgroups) == left(1600)
    (proc / "self/cgroup").unlink()
    assert memory_here(proc, cgroups) == left(1600)


def test_what_is_used_up_is_nothing_and_not_less(tmp_path: Path) -> None:
    groups: dict[str, tuple[object, int, int]] = {INNER: (MIB, 9 * MIB, 0)}
    assert memory_here(*machine(tmp_path, 9000, f"0::/{INNER}\n", groups, False)) == 0
