"""Kernels that the user gives: a UML `linux`; a bzImage or vmlinux for QEMU, with an initramfs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images import elf, initramfs
from foothold_lab.images.elf_file import ElfError, read_elf
from foothold_lab.images.errors import ImageError
from foothold_lab.images.regular_file import open_regular, overlapping_blocks

UML, QEMU = "uml-own", "qemu-own"  # the names of their guests

Mode = Literal["seccomp", "ptrace"]  # how a UML kernel runs its processes
SECCOMP: Mode = "seccomp"
_PTRACE = "--uml-mode=ptrace"

_LONGEST_BANNER = 256  # bytes of the match of _BANNER
_BANNER = re.compile(rb"Linux version (\d{1,9}\.\d{1,9})\S{0,200} \(")
# first bytes of an initramfs: a newc archive, also compressed in the formats that kernels unpack
_ARCHIVES = (b"070701", b"070702", b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"BZh",
             b"\x02\x21\x4c\x18", b"\x5d\x00\x00")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CustomKernels:
    """The options --uml, --kernel, --initrd, --append and --uml-mode.

    `append` is for all kernels, `mode` for all UML kernels.
    """

    uml: Path | None = None
    qemu: Path | None = None
    initrd: Path | None = None
    append: tuple[str, ...] = ()
    mode: Mode = SECCOMP

    @classmethod
    def from_arguments(cls, words: Sequence[str]) -> CustomKernels:
        """Read what `arguments` returned."""
        found = {"--uml": None, "--kernel": None, "--initrd": None} | {
            name: Path(value) for name, value in itertools.pairwise(words) if name != "--guest"
        }
        append = tuple(word.partition("=")[2] for word in words if word.startswith("--append="))
        mode: Mode = "ptrace" if _PTRACE in words else SECCOMP
        return cls(
            uml=found["--uml"],
            qemu=found["--kernel"],
            initrd=found["--initrd"],
            append=append,
            mode=mode,
        )

    @property
    def guests(self) -> tuple[str, ...]:
        """The names of the guests that boot these kernels."""
        return tuple(name for name, path in ((UML, self.uml), (QEMU, self.qemu)) if path)

    def arguments(self, guest: str) -> tuple[str, ...]:
        """Return the command-line arguments that select a guest with its kernel.

        Empty if these options do not change the guest.
        """
        words: tuple[str, ...] = ()
        if guest == UML and self.uml:
            words = ("--uml", str(self.uml.absolute()))
        elif guest == QEMU and self.qemu:
            words = ("--kernel", str(self.qemu.absolute()))
            words += ("--initrd", str(self.initrd.absolute())) if self.initrd else ()
        elif self.append or self.mode != SECCOMP:
            words = ("--guest", guest)
        words += tuple(f"--append={each}" for each in self.append)
        return words if self.mode == SECCOMP else (*words, _PTRACE)

    def check(self) -> None:
        """Raise UsageError if a file is not a kernel of its kind, or not an initramfs."""
        if self.uml:
            uml_release(self.uml)
        if self.qemu:
            check_bootable(self.qemu)
        if self.initrd:
            _check_initrd(self.initrd, self.qemu)


def uml_release(path: Path) -> str:
    """Return the release (`6.12`) of a UML kernel. Raises UsageError for another file.

    The kernel is not executed, for here it would not be confined. Its banner (linux_banner of
    init/version-timestamp.c) has the release; only UML has the option `uml_dir=`.
    """
    remedy = "give the path of a UML kernel, the file `linux` that ARCH=um builds"
    machine = _machine(path, remedy)
    if machine is None:
        raise UsageError(f"{path} is not a UML kernel: it is not an ELF program", remedy)
    if machine != elf.X86_64:
        raise UsageError(f"{path} is an ELF file for {machine}, not x86-64", remedy)
    banner, is_uml = None, False
    with open_regular(path) as file:
        for block in overlapping_blocks(file, _LONGEST_BANNER):
            banner = banner or _BANNER.search(block)
            is_uml = is_uml or b"uml_dir=" in block
            if banner and is_uml:
                return banner[1].decode()
    raise UsageError(f"{path} is not a UML kernel: it has no banner of one", remedy)


def check_bootable(path: Path) -> None:
    """Raise UsageError if a file is not an x86-64 kernel that QEMU can boot."""
    remedy = "give a bzImage (vmlinuz) or a vmlinux for x86-64"
    machine = _machine(path, remedy)
    if machine is None:
        try:
            initramfs.vmlinux(path.read_bytes())
        except ImageError as error:
            raise UsageError(f"{path}: {error}", remedy) from error
    elif machine != elf.X86_64:
        raise UsageError(f"{path} is an ELF file for {machine}, not x86-64", remedy)


def _check_initrd(path: Path, kernel: Path | None) -> None:
    if kernel is None:
        raise UsageError(
            "--initrd needs a custom kernel for QEMU", "give that kernel with --kernel FILE"
        )
    remedy = "give an initramfs: a cpio archive of the newc form, compressed or not"
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from error
    if not start.startswith(_ARCHIVES):
        raise UsageError(f"{path} is not an initramfs: it begins with {start!r}", remedy)


def _machine(path: Path, remedy: str) -> str | None:
    try:
        file = read_elf(path)
    except ElfError as error:
        raise UsageError(str(error), remedy) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from error
    return file.machine if file else None
