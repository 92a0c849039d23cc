"""The programs of tools load the libraries of their own image, and none of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.images import elf, own_apt
from foothold_lab.images.builder import Builder
from foothold_lab.images.mirror import find_mirror
from foothold_lab.images.progress import no_progress


def programs(image: Path) -> Iterator[Path]:
    """Yield the dynamic programs of an image that use its loader."""
    for path in sorted(image.rglob("*")):
        if path.is_symlink() or not path.is_file() or not path.stat().st_mode & 0o111:
            continue
        if elf.machine(path) == elf.X86_64 and (elf.interpreter(path) or "").startswith(str(image)):
            yield path


@pytest.mark.parametrize("name", ["clang", "strace", "qemu-x86_64", "qemu-user"])
def test_a_tool_is_independent_of_the_libraries_here(name: str, builder: Builder) -> None:
    image = builder.image(name)
    found = list(programs(image))
    assert found
    for program in found:
        loader = elf.interpreter(program)
        assert loader
        listed = subprocess.run(
            [loader, "--list", program], capture_output=True, text=True, check=True
        ).stdout
        loaded = [line.split("=>")[1].split()[0] for line in listed.splitlines() if "=>" in line]
        outside = [path for path in loaded if not path.startswith(str(image))]
        assert outside == [], program


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")
def test_tools_run_on_a_machine_without_a_libc(tmp_path: Path, builder: Builder) -> None:
    """As with musl: a tree that has nothing but two images, at their paths."""
    tools = own_apt.obtain(builder.cache, find_mirror().url, no_progress)
    apt = tools.entry
    assert apt
    options = [f"-o{name}={value}" for name, value in tools.options.items()]
    options.append("-oDir::State::status=/status")
    strace = builder.image("strace")
    for image in (apt.path, strace):
        shutil.copytree(image, tmp_path / str(image).lstrip("/"), symlinks=True)
    assert not (tmp_path / "lib64").exists()
    (tmp_path / "status").touch()  # by which apt knows that packages are Debian's
    programs = [apt.path / "bin" / name for name in ("apt-get", "gpgv", "dpkg-deb", "tar")]
    for program in (*programs, strace / "usr/bin/strace"):
        given = options if program.name == "apt-get" else []
        argv = ["unshare", "--mount", "chroot", tmp_path, program, *given, "--version"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout
