"""How much memory guests may use: of the machine, and of every cgroup of this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.runner.host_memory import MARGIN, available_memory

MIB = 1 << 20
INNER = "user.slice/lab.scope"


def machine(
    root: Path, available: int, lines: str, groups: dict[str, tuple[object, int, int]], v1: bool
) -> tuple[Path, Path]:
    """Make /proc and /sys/fs/cgroup; `groups` has limit, usage and cached files of each cgroup."""
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


def test_this_machine_has_memory() -> None:
    assert 64 < available_memory() < 1 << 30


@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("limited", [INNER, "user.slice", ""])
def test_the_cgroup_that_leaves_least_counts(limited: str, v1: bool, tmp_path: Path) -> None:
    hierarchy = "memory/" if v1 else ""
    without: object = (1 << 63) - 4096 if v1 else "max"
    groups: dict[str, tuple[object, int, int]] = {
        hierarchy + each: (without, 100 * MIB, 0) for each in (INNER, "user.slice", "")
    }
    # 500 MiB of its usage are cached files
    groups[hierarchy + limited] = (2048 * MIB, 700 * MIB, 500 * MIB)
    line = f"4:cpu,memory:/{INNER}" if v1 else f"0::/{INNER}"
    places = machine(tmp_path, 9000, f"9:name=systemd:/\n{line}\n", groups, v1)
    assert available_memory(*places) == left(2048 - 200)


def test_in_a_container_the_mounted_cgroup_counts(tmp_path: Path) -> None:
    groups: dict[str, tuple[object, int, int]] = {"memory": (512 * MIB, 112 * MIB, 0)}
    places = machine(tmp_path, 9000, "4:memory:/docker/0123abcd\n0::/\n", groups, True)
    assert available_memory(*places) == left(400)


def test_a_machine_without_cgroups(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, 1600, "", {}, True)
    assert available_memory(proc, cgroups) == left(1600)
    (proc / "self/cgroup").unlink()
    assert available_memory(proc, cgroups) == left(1600)


def test_a_full_cgroup_leaves_zero(tmp_path: Path) -> None:
    groups: dict[str, tuple[object, int, int]] = {INNER: (MIB, 9 * MIB, 0)}
    assert available_memory(*machine(tmp_path, 9000, f"0::/{INNER}\n", groups, False)) == 0
