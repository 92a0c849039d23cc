"""Images as disks, for guests that cannot see directories of the host (QEMU): a read-only file
system in a file, and the kernel modules that it needs.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path

from foothold_lab.images import processes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe, make_tool

DISK = "disk-"  # before the name of an image
FILE = "disk.squashfs"
TYPE = "squashfs"
MOST = 184  # disks that a PCI bus has room for: 8 in each slot from _FIRST_SLOT to 30
_ORDER = ("virtio_blk", "squashfs")  # their dependencies are already loaded
_FIRST_SLOT = 8  # QEMU places devices without an address in the slots below


def device(number: int) -> str:
    """Return the name that Linux gives to a disk: vda, …, vdz, vdaa, …"""
    rest, letter = divmod(number, 26)
    before = device(rest - 1) if rest else "vd"
    return before + chr(ord("a") + letter)


def address(number: int) -> str:
    """Return the options of QEMU for the place of a disk on a PCI bus, which has 32 slots: eight disks
    share one. Linux finds and names them in this order.
    """
    slot, function = divmod(number, 8)
    return f",addr={_FIRST_SLOT + slot:x}.{function},multifunction=on"


def make_disk(materials: Materials, out: Path) -> None:
    """Pack an image into a file system. lz4 is the fastest to unpack on an emulated processor."""
    [image] = (path for name, path in materials.images.items() if name != TYPE)
    argv: list[str | Path] = [
        materials.images[TYPE] / "usr/bin/mksquashfs", image, out / FILE,
        "-comp", "lz4", "-all-root", "-no-xattrs", "-mkfs-time", "0", "-no-progress", "-quiet",
    ]  # fmt: skip
    done = processes.run(argv)
    if done.returncode:
        raise ImageError(f"{image.name} cannot be packed: {done.stderr.strip()}", "report this")


def make_modules(materials: Materials, out: Path) -> None:
    """Copy the modules for disks from a kernel's package, uncompressed: the agent passes them to
    the kernel unchanged.
    """
    for name in _ORDER:
        [module] = materials.packages.rglob(f"{name}.ko*")
        data = module.read_bytes()
        (out / f"{name}.ko").write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)


def modules(image: Path) -> tuple[Path, ...]:
    """Return the modules of an image made by `make_modules`, in the order of loading."""
    return tuple(image / f"{name}.ko" for name in _ORDER)


def modules_image(kernel: str) -> str:
    """Name the image with the modules of a kernel."""
    return f"{DISK}modules-{kernel}"


def recipes(images: Iterable[Recipe], modules: Mapping[str, PackageSet]) -> Mapping[str, Recipe]:
    """Return the recipes of the disks of these images, and of the modules for kernels, given the
    packages that contain them by the name of the kernel.
    """
    sources = (Path(__file__),)
    tool = Recipe(
        name=TYPE,
        make=make_tool,
        packages=PackageSet(suite="bookworm", packages=("squashfs-tools",)),
        space=60 * MIB,
    )
    for_kernels = (
        Recipe(
            name=modules_image(kernel),
            make=make_modules,
            packages=packages,
            sources=sources,
            space=600 * MIB,
        )
        for kernel, packages in modules.items()
    )
    disks = (
        Recipe(
            name=DISK + each.name,
            make=make_disk,
            needs=(each.name, TYPE),
            sources=sources,
            space=each.space,
        )
        for each in images
    )
    return {each.name: each for each in (tool, *for_kernels, *disks)}
