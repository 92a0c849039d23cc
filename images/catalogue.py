"""All images by name: the registry that the builder is given. Adding one rebuilds no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from foothold_lab.images import (
    disks,
    elf,
    initramfs,
    kernel_build,
    kernels,
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
    make_agent_here,
    make_shim,
    make_tool,
    make_uml,
)
from foothold_lab.images.rootfs import EMULATORS, make_initrd, make_root, make_userland

HERE = Path(recipes.__file__)
AGENT_HERE = "agent-here"  # the agent of a machine that cannot have Debian's packages
# what every root has
_PROGRAMS = (
    "python3-minimal",
    "libpython3-stdlib",
    "busybox-static",
    "dropbear-bin",
    "openssh-sftp-server",
    "strace",
)


def _uml(suite: str) -> Recipe:
    packages = PackageSet(suite, ("user-mode-linux",), only=("user-mode-linux", "libc6"))
    return Recipe(f"uml-{suite}", make_uml, packages)


def _port(port: Port) -> Iterator[Recipe]:
    """What every port has: a compiler, the agent, and a root file system.

    An agent that has changed leaves the userland, which takes long to make, as it is.
    """
    toolchain, agent, userland = map(port.image, ("toolchain", "agent", "userland"))
    sources = (HERE, Path(elf.__file__), Path(rootfs.__file__))
    yield Recipe(toolchain, make_tool, PackageSet("bookworm", port.compilers), space=700 * MIB)
    yield Recipe(
        agent,
        make_agent,
        needs=(toolchain,),
        port=port,
        space=4 * MIB,
        sources=(HERE, *sorted(AGENT.glob("*.[ch]"))),
    )
    yield Recipe(
        userland,
        make_userland,
        PackageSet(port.suite, _PROGRAMS, architecture=port.name),
        needs=(EMULATORS,) if port.foreign else (),
        port=port,
        sources=sources,
    )
    yield Recipe(
        port.image("root"),
        make_root,
        needs=(userland, agent),
        port=port,
        sources=sources,
        space=60 * MIB,
    )


def _kernel(name: str, port: Port, suite: str, package: str) -> Recipe:
    """A kernel of Debian's for QEMU."""
    packages = PackageSet(
        suite, (package,), only=(r"linux-image-\d.*", r"linux-binary-.*"), architecture=port.name
    )
    return Recipe(
        name,
        make_kernel,
        packages,
        port=port,
        sources=(HERE, Path(kernels.__file__), Path(initramfs.__file__)),
    )


def _initrd(name: str, port: Port, kernel: str) -> Recipe:
    """What a kernel boots from: a port's root."""
    sources = (HERE, Path(rootfs.__file__), Path(initramfs.__file__))
    needs = (port.image("root"), kernel)
    return Recipe(name, make_initrd, needs=needs, port=port, sources=sources, space=60 * MIB)


def _all() -> Iterator[Recipe]:
    for port in PORTS.values():
        yield from _port(port)
    yield Recipe(
        "shim",
        make_shim,
        needs=("toolchain",),
        space=4 * MIB,
        sources=(HERE, *sorted(SHIM.glob("*.c"))),
    )
    yield Recipe("strace", make_tool, PackageSet("bookworm", ("strace",)), space=60 * MIB)
    for suite in ("bookworm", "trixie", "forky"):
        yield _uml(suite)
    for name, suite, *packages in (
        ("qemu-x86_64", "bookworm", "qemu-system-x86"),
        ("qemu-arm", "bookworm", "qemu-system-arm"),
        ("qemu-riscv", "trixie", "qemu-system-riscv", "opensbi"),
        (EMULATORS, "bookworm", "qemu-user"),
    ):
        yield Recipe(name, make_tool, PackageSet(suite, tuple(packages)), space=600 * MIB)
    yield _kernel("cloud-x86_64", AMD64, "bookworm", "linux-image-cloud-amd64")
    yield _kernel("linux-i386", I386, "bookworm", "linux-image-686-pae")
    yield _kernel("cloud-arm64", ARM64, "bookworm", "linux-image-cloud-arm64")
    yield _kernel("cloud-arm64-trixie", ARM64, "trixie", "linux-image-cloud-arm64")
    yield _kernel("linux-riscv64", RISCV64, "forky", "linux-image-riscv64")
    yield _initrd("initrd-x86_64", AMD64, "cloud-x86_64")
    yield _initrd("initrd-i386", I386, "linux-i386")
    yield _initrd("initrd-i386-cloud", I386, "cloud-x86_64")
    yield _initrd("initrd-arm64", ARM64, "cloud-arm64")
    yield _initrd("initrd-arm64-trixie", ARM64, "cloud-arm64-trixie")
    yield _initrd("initrd-riscv64", RISCV64, "linux-riscv64")


_PORTS: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _all()}
# of guests of this machine, and of programs of others in the default plan; what kernels of other
# machines need is built when one of these is asked for
_OTHERS = ("qemu-arm", "qemu-riscv")
_EMULATED = tuple(
    port.image(part) for port in (ARM64, RISCV64, I386) for part in ("agent", "userland", "root")
)
GUESTS: Mapping[str, Recipe] = {
    name: recipe
    for name, recipe in _PORTS.items()
    if (recipe.port is AMD64 and name not in _OTHERS) or name in _EMULATED
}
RECIPES: Mapping[str, Recipe] = {
    **_PORTS,
    AGENT_HERE: Recipe(
        AGENT_HERE, make_agent_here, sources=(HERE, *sorted(AGENT.glob("*.[ch]"))), space=4 * MIB
    ),
    **kernel_build.RECIPES,
    **runtimes.RECIPES,
    **disks.recipes(runtimes.RUNTIMES, [each for each in _all() if each.make is make_kernel]),
}
