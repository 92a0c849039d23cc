"""All guests by name. The names of UML guests have the releases of their kernels."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from foothold_lab.harness.guests import (
    bubblewrap,
    container_image,
    container_root,
    gvisor,
    native,
    nspawn,
    qemu,
    qemu_user,
    remote_machine,
    sandbox,
    uml,
)
from foothold_lab.harness.guests.architectures import (
    ARCHITECTURES,
    EMULATIONS,
    X86_64,
    Architecture,
    Emulation,
)
from foothold_lab.harness.guests.base import Capabilities, Guest, GuestConfig, Support
from foothold_lab.harness.guests.container import Container
from foothold_lab.harness.guests.container_engine import ENGINES, Engine
from foothold_lab.harness.guests.custom_kernels import QEMU, UML, CustomKernels, uml_release
from foothold_lab.harness.guests.sandbox import SandboxType
from foothold_lab.harness.guests.uml import UmlKernel, has_seccomp
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model.container_name import ContainerName, parse_container
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.placement import split_placement
from foothold_lab.harness.model.ssh_address import SshAddress, is_ssh_address
from foothold_lab.images import disks
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, Port

NO_CUSTOM_KERNELS = CustomKernels()
NO_MACHINES: Mapping[str, SshAddress] = {}
# alias -> image of the kernel of that Debian suite
_UML = {
    "uml-bullseye": "uml-bullseye",
    "uml-bookworm": "uml-bookworm",
    "uml-trixie": "uml-trixie",
    "uml-testing": "uml-forky",
}

_SANDBOXES: Mapping[str, SandboxType] = {
    "gvisor": gvisor.GVisor(platform="systrap", scale=4.0),
    "gvisor-ptrace": gvisor.GVisor(platform="ptrace", scale=6.0),
    "bubblewrap": bubblewrap.Bubblewrap(),
    "nspawn": nspawn.Nspawn(),
}
PTRACE = "-ptrace"  # the same kernel without its seccomp mode: the two modes have different bugs


@dataclass(frozen=True, kw_only=True)
class GuestType:
    """A guest that can be booted.

    images: those that it needs; files: kernels of the user that it needs.
    boot_seconds, cell_seconds: how long a boot and a cell take, measured on one machine: only the
        proportions matter.
    memory: of the host, in MiB, at most.
    port: whose root file system it has; None: that of the host.
    also_runs: other machines whose programs it runs.
    modules: an image of kernel modules, if it mounts images as disks.
    remote: a machine that is reached by SSH. Whose programs it runs is known when it is booted.
    """

    name: str
    make: Callable[[GuestConfig], Guest]
    capabilities: Capabilities
    images: tuple[str, ...]
    cell_seconds: float
    boot_seconds: float = 0.1
    memory: int = 64
    files: tuple[Path, ...] = ()
    port: Port | None = AMD64
    also_runs: tuple[str, ...] = ()
    modules: str = ""
    remote: bool = False

    @property
    def label(self) -> str:
        """Its name as one component of a path."""
        return quote(self.name, safe=":@+=,")

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines whose programs it runs, named as by `images.elf`, its own first. Empty if
        that is not known before the boot.
        """
        if self.remote:
            return ()
        return (self.port.machine if self.port else platform.machine(), *self.also_runs)

    def images_to_boot(self, mounted: Sequence[str]) -> tuple[str, ...]:
        """Return the images that a boot needs, with the images that the guest mounts."""
        if not (self.modules and mounted):
            return (*self.images, *mounted)
        return (*self.images, *(disks.DISK + name for name in mounted), self.modules)

    def supported(self, builder: Builder, scratch: Path) -> Support:
        """Say whether this machine can boot it; boots nothing."""
        config = GuestConfig(directory=scratch, share=scratch, builder=builder)
        return self.make(config).supported()


def catalogue(
    builder: Builder, custom: CustomKernels = NO_CUSTOM_KERNELS
) -> Mapping[str, GuestType]:
    """Return all guests by canonical name, with those that custom kernels make.

    Asks the mirror only if no lock names the kernels.
    """
    kinds = [_native(builder), *map(_container, ENGINES.values())]
    kinds.append(_qemu(X86_64, builder, custom))
    for image in _UML.values():
        release = builder.kernel_release(image)
        kernel = UmlKernel(release=release, image=image, append=custom.append, mode=custom.mode)
        kinds.append(_uml(f"uml-{release}", kernel))
        if has_seccomp(release):
            kinds.append(_uml(f"uml-{release}{PTRACE}", replace(kernel, mode="ptrace")))
    kinds += [_qemu(each, builder, custom) for each in ARCHITECTURES if each is not X86_64]
    kinds += map(_qemu_user, EMULATIONS)
    kinds += (_sandbox(name, each) for name, each in _SANDBOXES.items())
    if custom.uml:
        kernel = UmlKernel(
            release=uml_release(custom.uml),
            custom=custom.uml.absolute(),
            append=custom.append,
            mode=custom.mode,
        )
        kinds.append(_uml(UML, kernel))
    if custom.qemu:
        kinds.append(_custom_qemu(custom.qemu.absolute(), custom))
    return {kind.name: kind for kind in kinds}


def _native(builder: Builder) -> GuestType:
    return GuestType(
        name="native",
        make=lambda config: native.Native("native", config),
        capabilities=native.CAPABILITIES,
        images=native.needs(builder),
        cell_seconds=0.06,
        port=None,
    )


def _container(engine: Engine) -> GuestType:
    name = engine.program
    return GuestType(
        name=name,
        make=lambda config: Container(name, container_root.FootholdRoot(config), engine),
        capabilities=container_root.CAPABILITIES,
        images=("root",),
        cell_seconds=0.15,
        boot_seconds=0.6,
        memory=128,
    )


def _image_container(name: ContainerName) -> GuestType:
    return GuestType(
        name=str(name),
        make=lambda config: Container(
            str(name), container_image.UserImage(name, config), ENGINES[name.engine]
        ),
        capabilities=container_image.CAPABILITIES,
        images=("agent",),
        cell_seconds=0.15,
        boot_seconds=0.6,
        memory=128,
        port=None,
    )


def _uml(name: str, kernel: UmlKernel) -> GuestType:
    images = ("agent", "root", "shim", *([kernel.image] if kernel.image else []))
    return GuestType(
        name=name,
        make=lambda config: VirtualMachine(name, uml.Uml(kernel, config)),
        capabilities=uml.CAPABILITIES,
        images=images,
        cell_seconds=0.3,
        boot_seconds=0.2,
        memory=192,
        files=(kernel.custom,) if kernel.custom else (),
    )


def _qemu(architecture: Architecture, builder: Builder, custom: CustomKernels) -> GuestType:
    name = _qemu_name(architecture, builder)
    return _qemu_guest(name, architecture, qemu.QemuKernel(append=custom.append))


def _qemu_name(architecture: Architecture, builder: Builder) -> str:
    name = f"qemu-{architecture.name}"
    return f"{name}-{builder.kernel_release(architecture.kernel)}" if architecture.suite else name


def _custom_qemu(kernel: Path, custom: CustomKernels) -> GuestType:
    files = qemu.QemuKernel(kernel=kernel, initrd=custom.initrd, append=custom.append)
    return _qemu_guest(QEMU, X86_64, files)


def _qemu_guest(name: str, architecture: Architecture, kernel: qemu.QemuKernel) -> GuestType:
    return GuestType(
        name=name,
        make=lambda config: VirtualMachine(name, qemu.Qemu(architecture, config, kernel)),
        capabilities=qemu.capabilities(architecture),
        images=("agent", *architecture.images),
        cell_seconds=0.55 * architecture.scale / X86_64.scale,
        boot_seconds=1.3,
        memory=architecture.memory + 128,
        files=tuple(each for each in (kernel.kernel, kernel.initrd) if each),
        port=architecture.port,
        also_runs=architecture.also_runs,
        modules=disks.modules_image(architecture.kernel),
    )


def _qemu_user(emulation: Emulation) -> GuestType:
    name = f"qemu-user-{emulation.name}"
    return GuestType(
        name=name,
        make=lambda config: qemu_user.QemuUser(name, emulation, config),
        capabilities=qemu_user.CAPABILITIES,
        images=emulation.images,
        cell_seconds=0.45,
        port=emulation.port,
    )


def _sandbox(name: str, sandbox_type: SandboxType) -> GuestType:
    return GuestType(
        name=name,
        make=lambda config: sandbox.Sandbox(name, sandbox_type, config),
        capabilities=sandbox_type.capabilities,
        images=("agent", "root", *sandbox_type.images),
        cell_seconds=0.3,
        boot_seconds=0.3,
        memory=128,
    )


def _remote(name: str, address: SshAddress) -> GuestType:
    return GuestType(
        name=name,
        make=lambda config: remote_machine.RemoteMachine(name, address, config),
        capabilities=remote_machine.CAPABILITIES,
        images=(),
        cell_seconds=0.1,
        boot_seconds=0.6,
        memory=16,
        port=None,
        remote=True,
    )


def _of_worker(kind: GuestType, name: str) -> GuestType:
    """Return the type of a guest that only a worker of a cluster can make."""

    def make(_: GuestConfig) -> Guest:
        raise UsageError(
            f"{name} is the machine of a worker",
            f"run its cells on its cluster: foothold run --guest {name} --cluster ADDRESS",
        )

    return replace(kind, name=name, make=make)


def known_guests(builder: Builder, custom: CustomKernels = NO_CUSTOM_KERNELS) -> dict[str, str]:
    """Return every name of a guest, aliases too, with its canonical name."""
    names = {name: name for name in catalogue(builder, custom)}
    for alias, image in _UML.items():
        name = f"uml-{builder.kernel_release(image)}"
        names[alias] = name
        if f"{name}{PTRACE}" in names:
            names[f"{alias}{PTRACE}"] = f"{name}{PTRACE}"
    for each in ARCHITECTURES:
        if each.suite:
            names[f"qemu-{each.alias}"] = _qemu_name(each, builder)
    return names


def find_guest(
    kinds: Mapping[str, GuestType], name: str, machines: Mapping[str, SshAddress] = NO_MACHINES
) -> GuestType:
    """Return a guest by canonical name: one of the catalogue, a container with an image of the user,
    a machine that is reached by SSH, or that of a worker. Raises UsageError.

    `machines` are those that have a name of their own.
    """
    if name in machines or is_ssh_address(name):
        return _remote(name, machines.get(name) or SshAddress.parse(name))
    if named := parse_container(name):
        return _image_container(named)
    guest, worker = split_placement(name)
    if worker:
        return _of_worker(kinds[guest], name)
    if name not in kinds:
        raise UsageError(f"unknown guest {name!r}", f"guests are: {', '.join(kinds)}")
    return kinds[name]


def make(builder: Builder, name: str, config: GuestConfig) -> Guest:
    """Return a guest that is not booted, by canonical name. Raises UsageError."""
    return find_guest(catalogue(builder), name).make(config)
