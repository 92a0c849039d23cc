"""Debian's ports, as far as images depend on them. Frozen values: a new one is a value more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foothold_lab.images import elf


@dataclass(frozen=True)
class Port:
    """One of Debian's ports.

    `name` is Debian's for it, `machine` that of its programs (`images.elf.MACHINES`), `libraries`
    the directory of its libraries, `loader` where its programs ask for their loader, `suite` the
    one whose programs its root has. `compiler` is how its compiler's name begins, `compilers` are
    the packages of that. `emulator` is qemu-user's program for it, empty for this machine's own.
    `pointer_size` in bytes.
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
        """Does it take an emulator to run its programs where images are made?"""
        return bool(self.emulator)

    def image(self, kind: str) -> str:
        """Name this port's image of a kind: `root` for ours, `root-arm64`."""
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
    suite="forky",  # bookworm has no such port
    compiler="riscv64-linux-gnu",
    compilers=("gcc-12-riscv64-linux-gnu", "libc6-dev-riscv64-cross"),
    emulator="qemu-riscv64",
)
PORTS: Mapping[str, Port] = {port.name: port for port in (AMD64, ARM64, I386, RISCV64)}
