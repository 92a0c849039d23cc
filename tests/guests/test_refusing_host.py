"""Hosts that refuse what UML needs: the message names the cause, and its remedy works."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import refusing

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
RUN = ("run", "--limit", "none", "--subject", "/bin/true")
# In namespaces of its own: a small file system for the memory of UML, and no further namespaces,
# so that a guest is not confined and uses it.
SMALL = """
mount -t tmpfs -o size=40m tmpfs /dev/shm && echo 0 > /proc/sys/user/max_user_namespaces || exit 77
"$@"
mount -o remount,size=4G /dev/shm || exit 77
"$@"
"""


def foothold(tmp_path: Path, *words: str, by: tuple[str, ...] = ()) -> tuple[int, str]:
    done = subprocess.run(
        [*by, *FOOTHOLD, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=250, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "FOOTHOLD_UNCONFINED": "1"}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_without_ptrace_a_kernel_boots_that_uses_seccomp(tmp_path: Path) -> None:
    by = refusing.command(errno.EPERM, "ptrace")
    code, printed = foothold(tmp_path, *RUN, "--guest", "uml-7.2", "--guest", "uml-6.1", by=by)
    assert code == 0, printed
    assert "pass   uml-7.2/none/true" in printed
    assert "uml-6.1: unsupported: this machine refuses ptrace" in printed
    assert "or use uml-7.2" in printed
    _, printed = foothold(tmp_path, "doctor", by=by)
    lines = {line.split()[1]: line for line in printed.splitlines() if line[:2] in ("ok", "no")}
    assert lines["uml-7.2"].startswith("ok")
    assert lines["uml-7.2-ptrace"].startswith("no")
    assert "not measured" in lines["xstate"]


def test_without_seccomp_the_same_kernel_boots_by_ptrace(tmp_path: Path) -> None:
    by = refusing.command(errno.EPERM, "seccomp")
    code, printed = foothold(tmp_path, *RUN, "--guest", "uml-7.2", by=by)
    assert code == 3, printed
    assert "this machine refuses the seccomp filters" in printed
    assert "remedy: run it by ptrace: --guest uml-7.2-ptrace" in printed
    code, printed = foothold(tmp_path, *RUN, "--guest", "uml-7.2-ptrace", by=by)
    assert code == 0, printed


@pytest.mark.uml
def test_a_full_file_system_for_the_memory_of_uml_has_a_remedy(tmp_path: Path) -> None:
    by = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL, "sh")
    code, printed = foothold(tmp_path, *RUN, "--guest", "uml-6.1", by=by)
    if code == 77:
        pytest.skip(f"no namespaces: {printed}")
    first, _, second = printed.partition("1 cell: 1 in error")
    assert "the file system that holds the memory of the UML kernel is full (/dev/shm)" in first
    assert "remedy: as root: mount -o remount,size=4G /dev/shm" in first
    assert "pass   uml-6.1/none/true" in second
    assert code == 0
