"""Which guests there are. A name says what a guest is: UML guests carry their kernel's release."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness.guests import native
from foothold_lab.harness.guests.architectures import (
    ARCHITECTURES,
    EMULATIONS,
    X86_64,
    Architecture,
    Emulation,
)
from foothold_lab.harness.guests.base import Guest, GuestConfig, Support
from foothold_lab.harness.guests.container import Container
from foothold_lab.harness.guests.custom_kernels import QEMU, UML, CustomKernels, uml_release
from foothold_lab.harness.guests.qemu import Qemu
from foothold_lab.harness.guests.qemu_user import QemuUser
from foothold_lab.harness.guests.uml import Uml, has_seccomp
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images import disks
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, Port

NO_CUSTOM_KERNELS = CustomKernels()
# alias -> image: which suite's kernel a UML guest boots
_UML = {"uml-bookworm": "uml-bookworm", "uml-trixie": "uml-trixie", "uml-testing": "uml-forky"}

PTRACE = "-ptrace"  # the same kernel without its seccomp mode: their bugs differ


@dataclass(frozen=True)
class GuestType:
    """A guest that can be booted, from these images, and from `files` of the user's own.

    `boot` and `weight` say how long a boot and a cell take, in seconds as measured on one machine:
    only their proportions matter. `memory` is what it takes of the host's, in MiB, at most. With
    `modules` (an image), it sees an image that is to be shown as a file system of its own. `port`
    is the one whose root it has, None if it has none of ours; it `runs` programs of other machines
    as well.
    """

    name: str
    images: tuple[str, ...]
    make: Callable[[GuestConfig], Guest]
    weight: float
    boot: float = 0.1
    memory: int = 64
    files: tuple[Path, ...] = ()
    port: Port | None = AMD64
    runs: tuple[str, ...] = ()
    modules: str = ""

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines whose programs it runs, named as by `images.elf`, its own first."""
        return (self.port.machine if self.port else platform.machine(), *self.runs)

    def needs(self, shown: Sequence[str]) -> tuple[str, ...]:
        """The images that have to be there before it boots, with these to be shown."""
        if not (self.modules and shown):
            return (*self.images, *shown)
        return (*self.images, *(disks.DISK + name for name in shown), self.modules)

    def supported(self, builder: Builder, scratch: Path) -> Support:
        """Say whether this machine can boot it; boots nothing."""
        return self.make(GuestConfig(scratch, scratch, builder)).supported()


def catalogue(builder: Builder, own: CustomKernels = NO_CUSTOM_KERNELS) -> Mapping[str, GuestType]:
    """Return all guests by canonical name, those with the user's own kernels included.

    Asks the mirror only if no lock names the kernels.
    """
    kinds = [
        GuestType(
            "native",
            native.needs(builder),
            lambda place: native.Native("native", place),
            0.06,
            port=None,
        ),
        GuestType("docker", ("root",), lambda place: Container("docker", place), 0.15, 0.6, 128),
        _qemu(X86_64, own),
    ]
    for image in _UML.values():
        release = builder.uml_release(image)
        kinds.append(_uml(f"uml-{release}", image, release, own))
        if has_seccomp(release):
            ptrace = replace(own, mode="ptrace")
            kinds.append(_uml(f"uml-{release}{PTRACE}", image, release, ptrace))
    kinds += [_qemu(each, own) for each in ARCHITECTURES if each is not X86_64]
    kinds += map(_user, EMULATIONS)
    if own.uml:
        kinds.append(_uml(UML, "", uml_release(own.uml), own))
    if own.qemu:
        kinds.append(_qemu(X86_64, own, QEMU))
    return {kind.name: kind for kind in kinds}


def _uml(name: str, image: str, release: str, own: CustomKernels) -> GuestType:
    kernel = own.uml.absolute() if own.uml and name == UML else None
    images = ("agent", "root", "shim", *([] if kernel else [image]))

    def make(place: GuestConfig) -> Guest:
        return Uml(name, image, release, place, kernel=kernel, append=own.append, mode=own.mode)

    return GuestType(name, images, make, 0.3, 0.2, 192, (kernel,) if kernel else ())


def _qemu(this: Architecture, own: CustomKernels, name: str = "") -> GuestType:
    name = name or f"qemu-{this.name}"
    cell, memory = 0.55 * this.scale / X86_64.scale, this.memory + 128
    kernel = own.qemu.absolute() if own.qemu and name == QEMU else None
    initrd = own.initrd if kernel else None
    images = ("agent", *this.images)

    def make(place: GuestConfig) -> Guest:
        return Qemu(name, this, place, kernel=kernel, initrd=initrd, append=own.append)

    files = tuple(each for each in (kernel, initrd) if each)
    modules = disks.modules_image(this.kernel)
    return GuestType(name, images, make, cell, 1.3, memory, files, this.port, this.runs, modules)


def _user(this: Emulation) -> GuestType:
    name = f"qemu-user-{this.name}"
    return GuestType(
        name, this.images, lambda place: QemuUser(name, this, place), 0.45, port=this.port
    )


def known_guests(builder: Builder, own: CustomKernels = NO_CUSTOM_KERNELS) -> dict[str, str]:
    """Return every name by which a guest may be called, with its canonical name."""
    names = {name: name for name in catalogue(builder, own)}
    for alias, image in _UML.items():
        name = f"uml-{builder.uml_release(image)}"
        names[alias] = name
        if f"{name}{PTRACE}" in names:
            names[f"{alias}{PTRACE}"] = f"{name}{PTRACE}"
    return names


def make(builder: Builder, name: str, workplace: GuestConfig) -> Guest:
    """Return a guest that is not booted yet, by canonical name."""
    kinds = catalogue(builder)
    if name not in kinds:
        raise UsageError(f"unknown guest {name!r}", f"guests are: {', '.join(kinds)}")
    return kinds[name].make(workplace)
