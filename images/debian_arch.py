"""Debian's ports (architectures), with the properties that images depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foothold_lab.images import elf

EMULATORS = "qemu-user"  # the image with qemu-user's programs


@dataclass(frozen=True, kw_only=True)
class Port:
    """One of Debian's ports.

    name: Debian's name. machine: machine of its ELF files (`images.elf.MACHINES`).
    libraries: directory of its libraries. loader: path of the loader in its programs.
    suite: suite of the programs in its root file system.
    triplet: its name for compilers. libc_suite: suite of the C library of static programs.
    emulator: qemu-user's program for it, empty for the host's own port. emulators: the image with
        that program.
    linker: GNU ld's program for it, where clang's own linker does not do.
    pointer_size: in bytes.
    """

    name: str
    machine: str
    libraries: str
    loader: str
    suite: str
    triplet: str
    libc_suite: str = "bookworm"
    emulator: str = ""
    emulators: str = EMULATORS
    linker: str = ""
    pointer_size: int = 8

    @property
    def foreign(self) -> bool:
        """Return whether the host needs an emulator to run its programs."""
        return bool(self.emulator)

    def image(self, kind: str) -> str:
        """Name the image of a kind for this port: `root` for the host's own, `root-arm64`."""
        return f"{kind}-{self.name}" if self.foreign else kind


AMD64 = Port(
    name="amd64",
    machine=elf.X86_64,
    libraries="x86_64-linux-gnu",
    loader="/lib64/ld-linux-x86-64.so.2",
    suite="bookworm",
    triplet="x86_64-linux-gnu",
)
ARM64 = Port(
    name="arm64",
    machine="aarch64",
    libraries="aarch64-linux-gnu",
    loader="/lib/ld-linux-aarch64.so.1",
    suite="bookworm",
    triplet="aarch64-linux-gnu",
    emulator="qemu-aarch64",
)
I386 = Port(
    name="i386",
    machine="i386",
    libraries="i386-linux-gnu",
    loader="/lib/ld-linux.so.2",
    suite="bookworm",
    triplet="i686-linux-gnu",
    emulator="qemu-i386",
    pointer_size=4,
)
RISCV64 = Port(
    name="riscv64",
    machine="riscv64",
    libraries="riscv64-linux-gnu",
    loader="/lib/ld-linux-riscv64-lp64d.so.1",
    suite="forky",  # bookworm does not have this port
    triplet="riscv64-linux-gnu",
    emulator="qemu-riscv64",
)
PPC64EL = Port(
    name="ppc64el",
    machine="ppc64le",
    libraries="powerpc64le-linux-gnu",
    loader="/lib64/ld64.so.2",
    suite="bookworm",
    triplet="powerpc64le-linux-gnu",
    emulator="qemu-ppc64le",
)
S390X = Port(
    name="s390x",
    machine="s390x",
    libraries="s390x-linux-gnu",
    loader="/lib/ld64.so.1",
    suite="bookworm",
    triplet="s390x-linux-gnu",
    emulator="qemu-s390x",
)
LOONG64 = Port(
    name="loong64",
    machine="loongarch64",
    libraries="loongarch64-linux-gnu",
    loader="/lib64/ld-linux-loongarch-lp64d.so.1",
    suite="forky",  # bookworm and trixie do not have this port
    triplet="loongarch64-linux-gnu",
    libc_suite="trixie",
    emulator="qemu-loongarch64",
    emulators="qemu-user-trixie",  # under bookworm's its programs die of SIGILL
    linker="loongarch64-linux-gnu-ld",  # lld 19 links the resolvers of a static glibc wrongly
)
MIPS64EL = Port(
    name="mips64el",
    machine="mips64",
    libraries="mips64el-linux-gnuabi64",
    loader="/lib64/ld.so.1",
    suite="bookworm",
    triplet="mips64el-linux-gnuabi64",
    emulator="qemu-mips64el",
)
ARMHF = Port(
    name="armhf",
    machine="arm",
    libraries="arm-linux-gnueabihf",
    loader="/lib/ld-linux-armhf.so.3",
    suite="bookworm",
    triplet="arm-linux-gnueabihf",
    emulator="qemu-arm",
    pointer_size=4,
)
PORTS: Mapping[str, Port] = {
    port.name: port
    for port in (AMD64, ARM64, I386, RISCV64, PPC64EL, S390X, LOONG64, MIPS64EL, ARMHF)
}
