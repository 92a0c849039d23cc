"""The programs of tools load the libraries of their own image, and none of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.images import elf
from foothold_lab.images.builder import Builder


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
