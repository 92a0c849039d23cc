"""Kernels of the user's own: a UML `linux`, a bzImage or vmlinux for QEMU."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from images import elf, initramfs
from images.errors import ImageError

UML, QEMU = "uml-own", "qemu-own"  # the names of their guests


@dataclass(frozen=True)
class OwnKernels:
    """What the user gave by --uml and --kernel."""

    uml: Path | None = None
    qemu: Path | None = None

    @property
    def guests(self) -> tuple[str, ...]:
        """The guests that these kernels make."""
        return tuple(name for name, path in ((UML, self.uml), (QEMU, self.qemu)) if path)

    def where(self, guest: str) -> tuple[str, ...]:
        """Return the words of a command line that ask for this guest, if it is one of ours."""
        if guest == UML and self.uml:
            return ("--uml", str(self.uml))
        return ("--kernel", str(self.qemu)) if guest == QEMU and self.qemu else ()

    def check(self) -> None:
        """Raise UsageError if one of them is no kernel of its kind."""
        if self.uml:
            uml_release(self.uml)
        if self.qemu:
            check_bootable(self.qemu)


def uml_release(path: Path) -> str:
    """Return the release (`6.12`) that a UML kernel says it has. UsageError if it is none."""
    hint = "give the path of a UML kernel, the file `linux` that ARCH=um builds"
    if _machine(path, hint) is None:
        raise UsageError(f"{path} is no UML kernel: it is no ELF program", hint)
    try:
        done = subprocess.run(
            [path.absolute(), "--version"], capture_output=True, text=True, errors="replace",
            timeout=10, check=False, stdin=subprocess.DEVNULL, cwd=path.absolute().parent,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} cannot be asked for its version: {error}", hint) from error
    match = re.match(r"(\d+\.\d+)\S*\s*$", done.stdout)
    if not match:
        raise UsageError(f"{path} is no UML kernel: --version does not answer with a release", hint)
    return match[1]


def check_bootable(path: Path) -> None:
    """Raise UsageError if QEMU could not boot this file as an x86 kernel."""
    hint = "give a bzImage (vmlinuz) or a vmlinux for x86-64"
    machine = _machine(path, hint)
    if machine is None:
        try:
            initramfs.vmlinux(path.read_bytes())
        except ImageError as error:
            raise UsageError(f"{path}: {error}", hint) from error
    elif machine != elf.X86_64:
        raise UsageError(f"{path} is an ELF file for {machine}, not x86-64", hint)


def _machine(path: Path, hint: str) -> str | None:
    try:
        return elf.machine(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint) from error
