"""Images as disks, for a guest that sees no directory of the host (QEMU): a read-only file system
in a file, and the kernel modules that a guest needs for it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from images.apt import PackageSet
from images.errors import ImageError
from images.recipes import MIB, Materials, Recipe, make_tool

DISK = "disk-"  # before the name of an image
FILE = "disk.squashfs"
TYPE = "squashfs"
MODULES = "disk-modules"
_ORDER = ("virtio_blk", "squashfs")  # neither needs a module that is not loaded already


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
    """Take the modules for such disks out of a kernel's package."""
    for name in _ORDER:
        [module] = (materials.packages / "lib/modules").rglob(f"{name}.ko*")
        shutil.copy2(module, out / module.name)


def modules(image: Path) -> tuple[Path, ...]:
    """Return the modules of the image that `make_modules` made, in the order of loading."""
    return tuple(next(image.glob(f"{name}.ko*")) for name in _ORDER)


def recipes(images: Iterable[Recipe], kernel: Recipe) -> Mapping[str, Recipe]:
    """Return what makes disks of these images, for guests with this kernel."""
    here = (Path(__file__),)
    tool = Recipe(TYPE, make_tool, PackageSet("bookworm", ("squashfs-tools",)), space=60 * MIB)
    modules = Recipe(MODULES, make_modules, kernel.packages, sources=here)
    disks = (
        Recipe(DISK + each.name, make_disk, needs=(each.name, TYPE), sources=here, space=each.space)
        for each in images
    )
    return {each.name: each for each in (tool, modules, *disks)}
