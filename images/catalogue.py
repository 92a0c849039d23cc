"""All images by name. Adding an image does not rebuild others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from foothold_lab.images import (
    compiler,
    disks,
    elf,
    emulators,
    initramfs,
    kernel_build,
    kernels,
    probes,
    programs,
    recipes,
    rootfs,
    runtimes,
    survey_programs,
)
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.compiler import (
    AGENT,
    CLANG,
    CLANG_PACKAGES,
    HEADERS,
    HEADERS_PACKAGES,
    SHIM,
    SYSROOT,
    make_agent,
    make_clang,
    make_headers,
    make_host_agent,
    make_shim,
    make_sysroot,
    sysroot_packages,
)
from foothold_lab.images.debian_arch import (
    AMD64,
    ARM64,
    ARMHF,
    EMULATORS,
    I386,
    LOONG64,
    MIPS64EL,
    PORTS,
    PPC64EL,
    RISCV64,
    S390X,
    Port,
)
from foothold_lab.images.docker_profile import DOCKER_PROFILE
from foothold_lab.images.emulators import make_emulator
from foothold_lab.images.kernels import make_kernel
from foothold_lab.images.recipes import (
    MIB,
    Materials,
    Recipe,
    make_tool,
    make_uml,
)
from foothold_lab.images.rootfs import make_initrd, make_root, make_userland

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


def _all_but(*names: str) -> tuple[str, ...]:
    """Return the pattern of all packages whose names do not begin with one of these."""
    return (rf"(?!{'|'.join(names)})[a-z].*",)


# packages that only other packages need: no program that is used is linked with them
_IN_ROOT = _all_but(
    "adduser", "debconf", "dpkg", "media-types", "netbase", "openssh-client", "openssl", "passwd",
    "readline", "tar", "tzdata", "libacl", "libaudit", "libbsd", "libc-gconv", "libcap-ng",
    "libcbor", "libcom-err", "libdb5", "libedit", "libfido", "libgssapi", "libk5crypto",
    "libkeyutils", "libkrb5", "libmd0", "libnsl", "libpam", "libpcre2", "libreadline",
    "libselinux", "libsemanage", "libsepol", "libsqlite", "libssl3", "libtirpc", "libudev",
)  # fmt: skip
_IN_QEMU = _all_but(
    "adduser", "base-passwd", "debconf", "ipxe", "iso-codes", "login", "openssl", "passwd",
    "qemu-system-common", "qemu-system-gui", "libasound", "libaudit", "libbrlapi", "libcacard", "libdb5", "libdrm",
    "libdw", "libepoxy", "libexecs", "libexpat", "libgbm", "libgcrypt", "libgpg", "libgstreamer",
    "libncurses", "libnspr", "libnss", "libopus", "liborc", "libpam", "libpcsc", "libsemanage",
    "libsepol", "libsndio", "libspice", "libsqlite", r"libstdc\+\+6", "libsystemd", "libtinfo",
    "libunwind", "libusb", "libwayland",
)  # fmt: skip


def _packages_of(emulator: str) -> tuple[str, ...]:
    """Return patterns of the packages of an emulator. That of x86-64 loads its translator from a module."""
    return (*_IN_QEMU, "qemu-system-common") if emulator == "qemu-x86_64" else _IN_QEMU


_UML_SUITES = ("bookworm", "trixie", "forky")


def _uml(suite: str) -> Recipe:
    packages = PackageSet(
        suite=suite, packages=("user-mode-linux",), only=("user-mode-linux", "libc6")
    )
    return Recipe(name=f"uml-{suite}", make=make_uml, packages=packages)


# the images that are compiled from a folder of C files
COMPILED: Mapping[str, Path] = {
    **{port.image("agent"): AGENT for port in PORTS.values()},
    "shim": SHIM,
}


def _compiled(name: str, port: Port, make: Callable[[Materials, Path], None]) -> Recipe:
    """Return the recipe of an image of COMPILED: it is copied if this installation brings it."""
    folder = COMPILED[name]
    sources = (COMMON, *compiler.sources_of(folder))
    if brought := compiler.prebuilt(name, folder):
        return Recipe(
            name=name,
            make=lambda _, out: compiler.copy_prebuilt(brought, out),
            port=port,
            sources=(*sources, *sorted(brought.iterdir())),
            space=4 * MIB,
        )
    return Recipe(
        name=name,
        make=make,
        needs=compiler.needs(port),
        port=port,
        sources=sources,
        space=4 * MIB,
    )


def _port(port: Port) -> Iterator[Recipe]:
    """Yield the recipes that every port has: sysroot, agent, userland and root file system.

    The userland takes long to build. It is separate from the root, so that a changed agent does not
    rebuild it.
    """
    agent, userland = map(port.image, ("agent", "userland"))
    native = (AMD64.image("userland"),) if port.suite == AMD64.suite else ()
    sources = (COMMON, Path(elf.__file__), Path(rootfs.__file__))
    yield Recipe(
        name=port.image(SYSROOT),
        make=make_sysroot,
        packages=sysroot_packages(port),
        port=port,
        sources=(COMMON, Path(compiler.__file__)),
        space=60 * MIB,
    )
    yield _compiled(agent, port, make_agent)
    yield Recipe(
        name=userland,
        make=make_userland,
        packages=PackageSet(
            suite=port.suite, packages=_PROGRAMS, only=_IN_ROOT, architecture=port.name
        ),
        needs=(port.emulators, *native) if port.foreign else (),
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
    "linux-ppc64le-64k": "linux-base-powerpc64le-64k",
    "linux-ppc64le": "linux-base-powerpc64le",
    "linux-s390x": "linux-base-s390x",
    "linux-loong64": "linux-base-loong64",
    "linux-armhf": "linux-base-armmp-lpae",
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
    made_by = (COMMON, Path(elf.__file__), Path(compiler.__file__))
    yield Recipe(
        name=CLANG, make=make_clang, packages=CLANG_PACKAGES, sources=made_by, space=500 * MIB
    )
    yield Recipe(
        name=HEADERS, make=make_headers, packages=HEADERS_PACKAGES, sources=made_by, space=30 * MIB
    )
    yield Recipe(
        name=compiler.LINKER,
        make=make_tool,
        packages=compiler.LINKER_PACKAGES,
        sources=made_by,
        space=100 * MIB,
    )
    for port in PORTS.values():
        yield from _port(port)
    yield _compiled("shim", AMD64, make_shim)
    yield Recipe(
        name="strace",
        make=make_tool,
        packages=PackageSet(suite="bookworm", packages=("strace",)),
        space=60 * MIB,
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
    for suite in ("bullseye", *_UML_SUITES):
        yield _uml(suite)
    for name, suite, *packages in (
        ("qemu-x86_64", "bookworm", "qemu-system-x86"),
        ("qemu-arm", "bookworm", "qemu-system-arm"),
        ("qemu-riscv", "trixie", "qemu-system-riscv", "opensbi"),
        ("qemu-ppc", "trixie", "qemu-system-ppc"),
        ("qemu-s390x", "trixie", "qemu-system-s390x"),
        ("qemu-loongarch", "trixie", "qemu-system-misc", "qemu-efi-loongarch64"),
        ("qemu-mips", "trixie", "qemu-system-mips"),
        (EMULATORS, "bookworm", "qemu-user"),
        ("qemu-user-trixie", "trixie", "qemu-user"),
    ):
        yield Recipe(
            name=name,
            make=make_emulator,
            packages=PackageSet(suite=suite, packages=tuple(packages), only=_packages_of(name)),
            space=600 * MIB,
            sources=(COMMON, Path(elf.__file__), Path(emulators.__file__)),
        )
    for name, suite in ((RUNSC, "trixie"), (BUBBLEWRAP, "bookworm")):
        wanted = PackageSet(suite=suite, packages=(name,), only=_packages_of(name))
        yield Recipe(name=name, make=make_tool, packages=wanted, space=600 * MIB)
    yield _kernel("cloud-x86_64", AMD64, "bookworm", "linux-image-cloud-amd64")
    yield _kernel("cloud-x86_64-bullseye", AMD64, "bullseye", "linux-image-cloud-amd64")
    yield _kernel("cloud-x86_64-forky", AMD64, "forky", "linux-image-cloud-amd64")
    yield _kernel("linux-i386", I386, "bookworm", "linux-image-686-pae")
    yield _kernel("cloud-arm64", ARM64, "bookworm", "linux-image-cloud-arm64")
    yield _kernel("cloud-arm64-trixie", ARM64, "trixie", "linux-image-cloud-arm64")
    yield _kernel("linux-arm64-16k", ARM64, "forky", "linux-image-arm64-16k")
    yield _kernel("linux-riscv64", RISCV64, "forky", "linux-image-riscv64")
    for name, port, suite, package in (
        ("ppc64le-64k", PPC64EL, "forky", "linux-image-powerpc64le-64k"),
        ("ppc64le", PPC64EL, "forky", "linux-image-powerpc64le"),
        ("s390x", S390X, "forky", "linux-image-s390x"),
        ("loong64", LOONG64, "forky", "linux-image-loong64"),
        ("mips64el", MIPS64EL, "bookworm", "linux-image-loongson-3"),
        ("armhf", ARMHF, "forky", "linux-image-armmp-lpae"),
    ):
        yield _kernel(f"linux-{name}", port, suite, package)
        yield _initrd(f"initrd-{name}", port, f"linux-{name}")
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
# The default: images for the usual guests of this machine, and for those of the default plan. Those for
# other machines and other releases are built when such a guest is requested.
_EMULATED = (
    *(port.image(part) for port in (ARM64, RISCV64, I386) for part in ("agent", "userland", "root")),
    "qemu-arm", "linux-arm64-16k", "initrd-arm64-16k",
)  # fmt: skip
_FOR_THIS_MACHINE = (
    "agent", "userland", "root", "shim", "strace", EMULATORS, "qemu-x86_64", "cloud-x86_64",
    "initrd-x86_64", *(f"uml-{suite}" for suite in _UML_SUITES),
)  # fmt: skip


def _with_needs(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from _with_needs(_BASE[name].needs)
        yield name


GUESTS: Mapping[str, Recipe] = {
    name: _BASE[name] for name in _with_needs((*_FOR_THIS_MACHINE, *_EMULATED))
}


def default_suites() -> list[str]:
    """Return the suites of Debian that the images of the default are made of."""
    return sorted({each.packages.suite for each in GUESTS.values() if each.packages})


RECIPES: Mapping[str, Recipe] = {
    **_BASE,
    DOCKER_PROFILE.name: DOCKER_PROFILE,
    HOST_AGENT: Recipe(
        name=HOST_AGENT,
        make=make_host_agent,
        sources=(COMMON, *compiler.sources_of(AGENT)),
        space=4 * MIB,
    ),
    **kernel_build.RECIPES,
    **runtimes.RECIPES,
    **programs.RECIPES,
    **survey_programs.RECIPES,
    **probes.RECIPES,
    **disks.recipes(
        (
            *runtimes.RUNTIMES,
            *programs.PROGRAMS,
            *survey_programs.SURVEY_PROGRAMS,
            *probes.PROBES,
        ),
        {each.name: _modules(each) for each in _all() if each.make is make_kernel},
    ),
}
