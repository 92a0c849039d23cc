"""All images by name. Adding an image does not rebuild others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from foothold_lab.images import (
    disks,
    elf,
    initramfs,
    kernel_build,
    kernels,
    probes,
    programs,
    recipes,
    rootfs,
    runtimes,
)
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.debian_arch import AMD64, ARM64, I386, PORTS, RISCV64, Port
from foothold_lab.images.kernels import make_kernel
from foothold_lab.images.recipes import (
    AGENT,
    MIB,
    SHIM,
    Recipe,
    make_agent,
    make_host_agent,
    make_shim,
    make_tool,
    make_uml,
)
from foothold_lab.images.rootfs import EMULATORS, make_initrd, make_root, make_userland

COMMON = Path(recipes.__file__)
RUNSC = "runsc"  # gVisor
BUBBLEWRAP = "bubblewrap"
NSPAWN = "systemd-nspawn"
HOST_AGENT = "agent-host"  # the agent for machines that cannot use Debian packages
_PROGRAMS = (
    "python3-minimal",
    "libpython3-stdlib",
    "busybox-static",
    "dropbear-bin",
    "openssh-sftp-server",
    "strace",
)  # of every root file system


def _debs(suite: str, *packages: str) -> PackageSet:
    return PackageSet(suite=suite, packages=packages)


def _uml(suite: str) -> Recipe:
    packages = PackageSet(
        suite=suite, packages=("user-mode-linux",), only=("user-mode-linux", "libc6")
    )
    return Recipe(name=f"uml-{suite}", make=make_uml, packages=packages)


def _port(port: Port) -> Iterator[Recipe]:
    """Yield the recipes that every port has: compiler, agent, userland and root file system.

    The userland takes long to build. It is separate from the root, so that a changed agent does not
    rebuild it.
    """
    toolchain, agent, userland = map(port.image, ("toolchain", "agent", "userland"))
    sources = (COMMON, Path(elf.__file__), Path(rootfs.__file__))
    yield Recipe(
        name=toolchain,
        make=make_tool,
        packages=_debs("bookworm", *port.compilers),
        space=700 * MIB,
    )
    yield Recipe(
        name=agent,
        make=make_agent,
        needs=(toolchain,),
        port=port,
        space=4 * MIB,
        sources=(COMMON, *sorted(AGENT.glob("*.[ch]"))),
    )
    yield Recipe(
        name=userland,
        make=make_userland,
        packages=PackageSet(suite=port.suite, packages=_PROGRAMS, architecture=port.name),
        needs=(EMULATORS,) if port.foreign else (),
        port=port,
        sources=sources,
    )
    yield Recipe(
        name=port.image("root"),
        make=make_root,
        needs=(userland, agent),
        port=port,
        sources=sources,
        space=60 * MIB,
    )


def _kernel(name: str, port: Port, suite: str, package: str) -> Recipe:
    """Return the recipe of a Debian kernel for QEMU."""
    packages = PackageSet(
        suite=suite,
        packages=(package,),
        only=(r"linux-image-\d.*", r"linux-binary-.*"),
        architecture=port.name,
    )
    return Recipe(
        name=name,
        make=make_kernel,
        packages=packages,
        port=port,
        sources=(COMMON, Path(kernels.__file__), Path(initramfs.__file__)),
    )


# kernels whose modules are in a package of their own, and a package that depends on that one
_MODULES_APART = {
    "cloud-x86_64-forky": "linux-base-cloud-amd64",
    "linux-arm64-16k": "linux-base-arm64-16k",
    "linux-riscv64": "linux-base-riscv64",
}


def _modules(kernel: Recipe) -> PackageSet:
    """Return the packages with the modules of a kernel."""
    assert kernel.packages
    if not (apart := _MODULES_APART.get(kernel.name)):
        return kernel.packages
    packages = (*kernel.packages.packages, apart)
    return replace(kernel.packages, packages=packages, only=(r"linux-modules-\d.*",))


def _initrd(name: str, port: Port, kernel: str) -> Recipe:
    """Return the recipe of an initramfs: a port's root and the modules of a kernel."""
    return Recipe(
        name=name,
        make=make_initrd,
        needs=(port.image("root"), kernel),
        port=port,
        sources=(COMMON, Path(rootfs.__file__), Path(initramfs.__file__)),
        space=60 * MIB,
    )


def _all() -> Iterator[Recipe]:
    for port in PORTS.values():
        yield from _port(port)
    yield Recipe(
        name="shim",
        make=make_shim,
        needs=("toolchain",),
        space=4 * MIB,
        sources=(COMMON, *sorted(SHIM.glob("*.c"))),
    )
    yield Recipe(
        name="strace", make=make_tool, packages=_debs("bookworm", "strace"), space=60 * MIB
    )
    yield Recipe(
        name=NSPAWN,
        make=make_tool,
        packages=PackageSet(
            suite="bookworm",
            packages=("systemd-container",),
            only=("systemd-container", "lib(?!.*perl).*"),
        ),
    )
    for suite in ("bullseye", "bookworm", "trixie", "forky"):
        yield _uml(suite)
    for name, suite, *packages in (
        ("qemu-x86_64", "bookworm", "qemu-system-x86"),
        ("qemu-arm", "bookworm", "qemu-system-arm"),
        ("qemu-riscv", "trixie", "qemu-system-riscv", "opensbi"),
        (EMULATORS, "bookworm", "qemu-user"),
        ("qemu-user-trixie", "trixie", "qemu-user"),
        (RUNSC, "trixie", "runsc"),
        (BUBBLEWRAP, "bookworm", "bubblewrap"),
    ):
        yield Recipe(name=name, make=make_tool, packages=_debs(suite, *packages), space=600 * MIB)
    yield _kernel("cloud-x86_64", AMD64, "bookworm", "linux-image-cloud-amd64")
    yield _kernel("cloud-x86_64-bullseye", AMD64, "bullseye", "linux-image-cloud-amd64")
    yield _kernel("cloud-x86_64-forky", AMD64, "forky", "linux-image-cloud-amd64")
    yield _kernel("linux-i386", I386, "bookworm", "linux-image-686-pae")
    yield _kernel("cloud-arm64", ARM64, "bookworm", "linux-image-cloud-arm64")
    yield _kernel("cloud-arm64-trixie", ARM64, "trixie", "linux-image-cloud-arm64")
    yield _kernel("linux-arm64-16k", ARM64, "forky", "linux-image-arm64-16k")
    yield _kernel("linux-riscv64", RISCV64, "forky", "linux-image-riscv64")
    yield _initrd("initrd-x86_64", AMD64, "cloud-x86_64")
    yield _initrd("initrd-x86_64-bullseye", AMD64, "cloud-x86_64-bullseye")
    yield _initrd("initrd-x86_64-forky", AMD64, "cloud-x86_64-forky")
    yield _initrd("initrd-i386", I386, "linux-i386")
    yield _initrd("initrd-i386-cloud", I386, "cloud-x86_64")
    yield _initrd("initrd-arm64", ARM64, "cloud-arm64")
    yield _initrd("initrd-arm64-trixie", ARM64, "cloud-arm64-trixie")
    yield _initrd("initrd-arm64-16k", ARM64, "linux-arm64-16k")
    yield _initrd("initrd-riscv64", RISCV64, "linux-riscv64")


_BASE: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _all()}
# The default: images for the usual guests of this machine, and for programs of other machines in the
# default plan. Those for kernels of other machines and of other releases are built when such a guest
# is requested.
_ON_REQUEST = (
    RUNSC, BUBBLEWRAP, NSPAWN, "qemu-arm", "qemu-riscv", "qemu-user-trixie", "uml-bullseye",
    "cloud-x86_64-bullseye", "initrd-x86_64-bullseye",
    "cloud-x86_64-forky", "initrd-x86_64-forky",
)  # fmt: skip
_EMULATED = tuple(
    port.image(part) for port in (ARM64, RISCV64, I386) for part in ("agent", "userland", "root")
)
GUESTS: Mapping[str, Recipe] = {
    name: recipe
    for name, recipe in _BASE.items()
    if (recipe.port is AMD64 and name not in _ON_REQUEST) or name in _EMULATED
}
RECIPES: Mapping[str, Recipe] = {
    **_BASE,
    HOST_AGENT: Recipe(
        name=HOST_AGENT,
        make=make_host_agent,
        sources=(COMMON, *sorted(AGENT.glob("*.[ch]"))),
        space=4 * MIB,
    ),
    **kernel_build.RECIPES,
    **runtimes.RECIPES,
    **programs.RECIPES,
    **probes.RECIPES,
    **disks.recipes(
        (*runtimes.RUNTIMES, *programs.PROGRAMS, *probes.PROBES),
        {each.name: _modules(each) for each in _all() if each.make is make_kernel},
    ),
}
