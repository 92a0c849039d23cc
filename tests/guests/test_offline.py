"""A machine that `foothold images build --for PLAN` has prepared needs no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOOTHOLD = (sys.executable, "-m", "foothold_lab.harness.cli")
PLAN = """
schema = 1
name = "offline"
require = ["native", "qemu-x86_64", "qemu-user-riscv64"]

[axes]
guests = ["native", "qemu-x86_64"]
limits = ["none"]
subjects = ["allocator", "luajit-hello"]
policies = ["after"]

[[include]]
guests = ["qemu-user-riscv64"]
subjects = ["allocator"]
policies = ["after"]
limits = ["none"]

[[expect]]
subjects = ["luajit-hello"]
expect = "starts"
"""
_NO_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")


def no_network_possible() -> bool:
    """Return whether this user can take a network namespace."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not no_network_possible(), reason="no network namespace can be made here")
def test_a_prepared_plan_runs_without_a_network(tmp_path: Path) -> None:
    plan = tmp_path / "offline.toml"
    plan.write_text(PLAN)
    built = subprocess.run(
        [*FOOTHOLD, "images", "build", "--for", plan], capture_output=True, text=True, check=True
    )
    names = {line.split()[0] for line in built.stdout.splitlines()}
    assert names >= {"agent", "strace", "qemu-x86_64", "luajit", "disk-luajit", "root-riscv64"}
    assert "disk-modules-cloud-x86_64" in names
    done = subprocess.run(
        [*_NO_NETWORK, *FOOTHOLD, "run", plan, "--run-dir", tmp_path / "run"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 cells: 5 passed" in done.stdout
    assert "downloading" not in done.stderr
