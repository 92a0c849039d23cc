"""Images as disks, for a guest that sees no directory of the host (QEMU): a read-only file system
in a file, and the kernel modules that a guest needs for it.
"""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from foothold_lab.images.apt import PackageSet
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe, make_tool

DISK = "disk-"  # before the name of an image
FILE = "disk.squashfs"
TYPE = "squashfs"
_ORDER = ("virtio_blk", "squashfs")  # neither needs a module that is not loaded already
# of kernels whose modules are a package of their own, large, that a boot does without
_APART = {"linux-image-riscv64": ("linux-base-riscv64", r"linux-modules-\d.*")}


def make_disk(materials: Materials, out: Path) -> None:
    """Make a file system of an image; lz4 is the least work for an emulated processor."""
    [image] = (path for name, path in materials.images.items() if name != TYPE)
    argv: list[str | Path] = [
        materials.images[TYPE] / "usr/bin/mksquashfs", image, out / FILE,
        "-comp", "lz4", "-all-root", "-no-xattrs", "-no-progress", "-quiet",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{image.name} cannot be packed: {done.stderr.strip()}", "report this")


def make_modules(materials: Materials, out: Path) -> None:
    """Take the modules for such disks out of a kernel's package, as a kernel loads them: the agent
    hands them over as they are.
    """
    for name in _ORDER:
        [module] = materials.packages.rglob(f"{name}.ko*")
        data = module.read_bytes()
        (out / f"{name}.ko").write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)


def modules(image: Path) -> tuple[Path, ...]:
    """Return the modules of the image that `make_modules` made, in the order of loading."""
    return tuple(image / f"{name}.ko" for name in _ORDER)


def modules_of(kernel: str) -> str:
    """Name the image of the modules that go with a kernel's."""
    return f"{DISK}modules-{kernel}"


def _packages(kernel: Recipe) -> PackageSet:
    """Return the packages that have a kernel's modules."""
    assert kernel.packages
    [name] = kernel.packages.packages
    if name not in _APART:
        return kernel.packages
    beside, only = _APART[name]
    return replace(kernel.packages, packages=(name, beside), only=(only,))


def recipes(images: Iterable[Recipe], kernels: Iterable[Recipe]) -> Mapping[str, Recipe]:
    """Return what makes disks of these images, for guests with these kernels."""
    here = (Path(__file__),)
    tool = Recipe(TYPE, make_tool, PackageSet("bookworm", ("squashfs-tools",)), space=60 * MIB)
    modules = (
        Recipe(modules_of(each.name), make_modules, _packages(each), sources=here, space=600 * MIB)
        for each in kernels
    )
    disks = (
        Recipe(DISK + each.name, make_disk, needs=(each.name, TYPE), sources=here, space=each.space)
        for each in images
    )
    return {each.name: each for each in (tool, *modules, *disks)}
