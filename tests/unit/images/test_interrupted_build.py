"""`foothold images build` under signals: the exit code, and nothing left on disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.images import lock
from foothold_lab.images.catalogue import RECIPES

pytestmark = pytest.mark.thorough

IMAGE = "uml-bookworm"
BUILD = [sys.executable, "-m", "foothold_lab.harness.cli", "images", "build", IMAGE]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cache with downloaded packages, and a dpkg-deb that writes its process id and waits."""
    packages = RECIPES[IMAGE].packages
    assert packages
    (tmp_path / "cache/debs").mkdir(parents=True)
    data = bytes(1000)
    sha256 = hashlib.sha256(data).hexdigest()
    debs = [
        replace(deb, size=len(data), sha256=sha256)
        for deb in lock.read(lock.TESTED).sets[packages.name]
    ]
    for deb in debs:
        (tmp_path / "cache/debs" / deb.file).write_bytes(data)
    lock.remember(packages, debs, tmp_path / "cache/lock.json")
    os.mkfifo(tmp_path / "started")
    (tmp_path / "bin").mkdir()
    # without apt-get and dpkg, Foothold takes an apt of its own. busybox has no prlimit, and its shell
    # starts its own dpkg-deb unless a path is given
    prlimit = f'shift; name=$1; shift; exec {tmp_path}/bin/$name "$@"'
    for name, script in {"apt-get": "", "dpkg": "", "prlimit": prlimit}.items():
        if not shutil.which(name):
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(0o755)
    dpkg_deb(tmp_path, f'echo partial > "$3/file"; echo $$ > {tmp_path}/started; exec sleep 600')
    return {
        **os.environ,
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "FOOTHOLD_CACHE": str(tmp_path / "cache"),
    }


def dpkg_deb(folder: Path, script: str) -> None:
    program = folder / "bin/dpkg-deb"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def start(tmp_path: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    """Start a build and wait until it unpacks. Returns it and the process id of dpkg-deb."""
    build = subprocess.Popen(BUILD, env=environment, stderr=subprocess.PIPE, text=True)
    return build, int((tmp_path / "started").read_text())


def is_running(process: int) -> bool:
    """Return whether a process exists and is not a zombie; proc_pid_stat(5)."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def partial_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache/building").rglob("*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_build_and_leaves_nothing(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    build, child = start(tmp_path, environment)
    assert partial_files(tmp_path)
    build.send_signal(number)
    _, errors = build.communicate(timeout=30)
    assert build.returncode == 130
    assert "Traceback" not in errors
    assert partial_files(tmp_path) == []
    assert not is_running(child)


def test_the_next_build_removes_what_a_killed_one_left(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    build, child = start(tmp_path, environment)
    build.kill()
    build.communicate(timeout=30)
    os.kill(child, signal.SIGKILL)
    assert any(path.name == "file" for path in partial_files(tmp_path))
    dpkg_deb(tmp_path, "echo broken >&2; exit 1")
    done = subprocess.run(BUILD, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "cannot be unpacked: broken" in done.stderr
    assert partial_files(tmp_path) == []


def test_another_image_removes_it_too_but_not_a_running_build(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    from foothold_lab.images.cache import Cache

    killed, child = start(tmp_path, environment)
    killed.kill()
    killed.communicate(timeout=30)
    os.kill(child, signal.SIGKILL)
    running = tmp_path / "cache/building" / "other-key+random"
    running.mkdir()
    with Cache(tmp_path / "cache").locked("other-key"):
        Cache(tmp_path / "cache").obtain("thing", "k" * 64, lambda out: {})
        assert [path.name for path in running.parent.iterdir()] == [running.name]
    Cache(tmp_path / "cache").obtain("thing2", "k" * 64, lambda out: {})
    assert partial_files(tmp_path) == []


def test_a_signal_during_the_start_of_a_child_does_not_lose_it(tmp_path: Path) -> None:
    """The constructor of Popen returns after the child runs; a signal may come before."""
    program = (
        "import os, signal, subprocess, sys\n"
        "from foothold_lab.images import processes\n"
        "start = subprocess.Popen.__init__\n"
        "def interrupted(self, *argv, **options):\n"
        "    start(self, *argv, **options)\n"
        "    print(self.pid, flush=True)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "subprocess.Popen.__init__ = interrupted\n"
        "processes.run(['sleep', '600'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    assert not is_running(int(done.stdout))
