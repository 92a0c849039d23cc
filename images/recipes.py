"""Recipes: the packages, the other images and the function that an image is built from.

The function of a recipe gets the unpacked packages and the images that it needs, and fills an empty
directory. This module has the functions for tools and for compiled programs; `rootfs`, `kernels`,
`runtimes`, `disks` and `kernel_build` have the others.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.images import elf
from foothold_lab.images.apt import Deb, PackageSet
from foothold_lab.images.debian_arch import AMD64, Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Progress, no_progress
from foothold_lab.images.wheels import Wheel

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Materials:
    """The inputs of a recipe's function.

    packages: the unpacked packages and wheels; the function may change them.
    images: finished images that the recipe names in `needs`.
    target: path of the finished image.
    """

    packages: Path
    images: Mapping[str, Path]
    target: Path
    port: Port = AMD64
    progress: Progress = no_progress

    def image(self, kind: str) -> Path:
        """Return the needed image of this kind for the same port."""
        return self.images[self.port.image(kind)]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One image of a port. `space` is the disk space in bytes that its build needs. `sources` are
    the files that define how it is built: a change of one of them rebuilds the image.
    """

    name: str
    make: Callable[[Materials, Path], None]
    packages: PackageSet | None = None
    wheels: tuple[Wheel, ...] = ()
    needs: tuple[str, ...] = ()
    port: Port = AMD64
    sources: tuple[Path, ...] = field(default=(Path(__file__), Path(elf.__file__)))
    space: int = 300 * MIB


def release(debs: list[Deb]) -> str:
    """Return a UML package's kernel release, `7.2` of version `7.2um1`."""
    for deb in debs:
        if deb.package == "user-mode-linux" and (match := re.match(r"(\d+\.\d+)", deb.version)):
            return match[1]
    raise ImageError("the package set has no user-mode-linux", "report this")


def library_directories(port: Port) -> tuple[str, ...]:
    """Return the library directories of a port's packages. Before trixie there are two."""
    return (f"lib/{port.libraries}", f"usr/lib/{port.libraries}")


def loader(tree: Path, port: Port) -> Path:
    """Return ld.so of unpacked packages. Its link in /lib64 points out of the tree."""
    name = Path(port.loader).name
    for folder in (*library_directories(port), "lib64", "usr/lib64", "lib", "usr/lib"):
        if (tree / folder / name).is_file():
            return tree / folder / name
    raise ImageError(f"no dynamic loader below {tree}", "report this")


def make_tool(materials: Materials, out: Path) -> None:
    """Copy unpacked packages, and make their programs use their own loader and libraries."""
    shutil.copytree(materials.packages, out, symlinks=True, dirs_exist_ok=True)
    if not any((out / folder).is_dir() for folder in library_directories(AMD64)):
        return  # only static programs
    interpreter = materials.target / loader(out, AMD64).relative_to(out)
    extra = [
        str(materials.target / folder.relative_to(out))
        for folder in (out / library_directories(AMD64)[1]).glob("*")
        if any(folder.glob("*.so.*"))
    ]
    run_path = ":".join(
        [*(str(materials.target / each) for each in library_directories(AMD64)), *extra]
    )
    compilers = (*(out / "usr/lib").glob("gcc*/*/12"), *(out / "usr/lib").glob("llvm-*/bin"))
    for folder in (out / "usr/bin", out / "usr/libexec", *compilers):
        for path in folder.glob("*"):
            if path.is_symlink() or not path.is_file() or elf.machine(path) != elf.X86_64:
                continue
            if elf.interpreter(path):  # else a static program, a library or an object file
                elf.relocate(path, str(interpreter), run_path)


def make_uml(materials: Materials, out: Path) -> None:
    """Make a UML kernel that runs with the libc of its suite, started in its own directory."""
    shutil.copy2(materials.packages / "usr/bin/linux.uml", out / "linux")
    with_libc(out / "linux", materials.packages)


def with_libc(program: Path, tree: Path) -> None:
    """Put the libc of unpacked packages beside a program, to be started in its own directory."""
    (program.parent / "lib").mkdir()
    ld = loader(tree, AMD64)
    for name in (ld.name, *elf.needed(program)):
        shutil.copy2((ld.parent / name).resolve(), program.parent / "lib" / name)
    elf.relocate(program, f"lib/{ld.name}", "$ORIGIN/lib")
