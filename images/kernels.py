"""Kernels from Debian packages, for QEMU."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from foothold_lab.images import elf, initramfs
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import Materials

# what a virtio serial port needs, in the order of loading; many kernels have it built in
_VIRTIO = (
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_console",
)
_X86 = (elf.X86_64, "i386")


def make_kernel(materials: Materials, out: Path) -> None:
    """Copy a kernel from a Debian package, with the modules for the serial line of a guest.

    `kernel` is the file that QEMU starts fastest: on x86 an uncompressed PVH kernel, elsewhere the
    file of the package, or the kernel inside it if that is a program for EFI. On x86 there is also `bzImage`.
    """
    image = _image(materials.packages)
    if materials.port.machine in _X86:
        shutil.copy2(image, out / "bzImage")
        (out / "kernel").write_bytes(initramfs.vmlinux(image.read_bytes()))
    else:
        (out / "kernel").write_bytes(initramfs.unpacked(image.read_bytes()))
    modules = out / "modules"
    modules.mkdir()
    present = {
        re.sub(r"\.ko.*$", "", path.name).replace("-", "_"): path
        for path in materials.packages.rglob("*.ko*")
    }
    order = []
    for name in _VIRTIO:
        if name in present:
            shutil.copy2(present[name], modules / present[name].name)
            order.append(f"/modules/{present[name].name}\n")
    (modules / "order").write_text("".join(order))
    (out / "release").write_text(_release(image) + "\n")


def _image(packages: Path) -> Path:
    """Find the kernel in /boot, or in newer packages beside its modules."""
    found = [*packages.glob("boot/vmlinuz-*"), *packages.glob("usr/lib/modules/*/vmlinuz")]
    if len(found) != 1:
        raise ImageError(f"the packages have {len(found)} kernels instead of one", "report this")
    return found[0]


def _release(image: Path) -> str:
    """Return the release `6.1.0-50-cloud-arm64` of vmlinuz-RELEASE or RELEASE/vmlinuz."""
    return image.name.partition("-")[2] or image.parent.name
