"""Which guests there are. A name says what a guest is: UML guests carry their kernel's release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.guests.architectures import ARCHITECTURES, X86_64, Architecture
from harness.guests.container import Container
from harness.guests.guest import Guest, Workplace
from harness.guests.native import Native
from harness.guests.own import QEMU, UML, OwnKernels, uml_release
from harness.guests.qemu import Qemu
from harness.guests.uml import Uml
from images.builder import Builder

NO_OWN = OwnKernels()
# alias -> image: which suite's kernel a UML guest boots
_UML = {"uml-bookworm": "uml-bookworm", "uml-trixie": "uml-trixie", "uml-testing": "uml-forky"}


@dataclass(frozen=True)
class Kind:
    """A guest that can be booted, from these images.

    `weight` says how long it takes, relatively: the longest is started first.
    """

    name: str
    images: tuple[str, ...]
    make: Callable[[Workplace], Guest]
    weight: float


def catalogue(builder: Builder, own: OwnKernels = NO_OWN) -> Mapping[str, Kind]:
    """Return all guests by canonical name, those with the user's own kernels included.

    Asks the mirror only if no lock names the kernels.
    """
    kinds = [
        Kind("native", ("agent", "strace"), lambda place: Native("native", place), 1.0),
        Kind("docker", ("root",), lambda place: Container("docker", place), 2.0),
        *map(_qemu, ARCHITECTURES),
    ]
    for image in _UML.values():
        release = builder.uml_release(image)
        kinds.append(_uml(f"uml-{release}", image, release))
    if own.uml:
        kinds.append(_uml(UML, "", uml_release(own.uml), own.uml.absolute()))
    if own.qemu:
        kinds.append(_qemu(X86_64, QEMU, own.qemu.absolute()))
    return {kind.name: kind for kind in kinds}


def _uml(name: str, image: str, release: str, kernel: Path | None = None) -> Kind:
    images = ("agent", "root", "shim", *([] if kernel else [image]))
    return Kind(name, images, lambda place: Uml(name, image, release, place, kernel=kernel), 2.0)


def _qemu(this: Architecture, name: str = "", kernel: Path | None = None) -> Kind:
    name = name or f"qemu-{this.name}"
    images = ("agent", *this.images)
    return Kind(name, images, lambda place: Qemu(name, this, place, kernel=kernel), 10.0)


def known_guests(builder: Builder, own: OwnKernels = NO_OWN) -> dict[str, str]:
    """Return every name by which a guest may be called, with its canonical name."""
    names = {name: name for name in catalogue(builder, own)}
    names.update({alias: f"uml-{builder.uml_release(image)}" for alias, image in _UML.items()})
    return names


def make(builder: Builder, name: str, workplace: Workplace) -> Guest:
    """Return a guest that is not booted yet, by canonical name."""
    kinds = catalogue(builder)
    if name not in kinds:
        raise UsageError(f"unknown guest {name!r}", f"guests are: {', '.join(kinds)}")
    return kinds[name].make(workplace)
