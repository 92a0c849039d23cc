"""Debian's ports (architectures), with the properties that images depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foothold_lab.images import elf


@dataclass(frozen=True, kw_only=True)
class Port:
    """One of Debian's ports.

    name: Debian's name. machine: machine of its ELF files (`images.elf.MACHINES`).
    libraries: directory of its libraries. loader: path of the loader in its programs.
    suite: suite of the programs in its root file system.
    compiler: prefix of its compiler's name. compilers: packages of the compiler.
    emulator: qemu-user's program for it, empty for the host's own port.
    pointer_size: in bytes.
    """

    name: str
    machine: str
    libraries: str
    loader: str
    suite: str
    compiler: str
    compilers: tuple[str, ...]
    emulator: str = ""
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
    compiler="x86_64-linux-gnu",
    compilers=("gcc-12", "libc6-dev"),
)
ARM64 = Port(
    name="arm64",
    machine="aarch64",
    libraries="aarch64-linux-gnu",
    loader="/lib/ld-linux-aarch64.so.1",
    suite="bookworm",
    compiler="aarch64-linux-gnu",
    compilers=("gcc-12-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    emulator="qemu-aarch64",
)
I386 = Port(
    name="i386",
    machine="i386",
    libraries="i386-linux-gnu",
    loader="/lib/ld-linux.so.2",
    suite="bookworm",
    compiler="i686-linux-gnu",
    compilers=("gcc-12-i686-linux-gnu", "libc6-dev-i386-cross"),
    emulator="qemu-i386",
    pointer_size=4,
)
RISCV64 = Port(
    name="riscv64",
    machine="riscv64",
    libraries="riscv64-linux-gnu",
    loader="/lib/ld-linux-riscv64-lp64d.so.1",
    suite="forky",  # bookworm does not have this port
    compiler="riscv64-linux-gnu",
    compilers=("gcc-12-riscv64-linux-gnu", "libc6-dev-riscv64-cross"),
    emulator="qemu-riscv64",
)
PORTS: Mapping[str, Port] = {port.name: port for port in (AMD64, ARM64, I386, RISCV64)}
