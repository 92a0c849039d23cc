"""Reads an ELF file that may be damaged, or made to deceive: a program that the user gives.

All offsets and sizes are checked against the file. `images.elf` reads and changes the files of
Debian packages, which are verified.

Source: elf(5); load_elf_binary() in fs/binfmt_elf.c; include/elf.h of glibc.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from foothold_lab.images.elf import machine_of
from foothold_lab.images.errors import ImageError
from foothold_lab.images.regular_file import NotRegularError, open_regular

_MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _INTERP = 1, 2, 3  # p_type
_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29  # d_tag
_AUDIT, _DEPAUDIT = 0x6FFFFEFC, 0x6FFFFEFB
_FLAGS_1, _AUXILIARY, _FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
_NO_DEFAULT_DIRECTORIES = 0x800  # DF_1_NODEFLIB, of DT_FLAGS_1
_MOST_HEADERS = 4096
_MOST_ENTRIES = 1 << 16  # of the dynamic section
_LONGEST_NAME = 4096  # PATH_MAX
_MOST_STRINGS = 64 << 20  # bytes of a string table


class ElfError(ImageError):
    """The file is not a complete ELF program."""


@dataclass(frozen=True, kw_only=True)
class ElfFile:
    """What the headers of an ELF file say.

    machine: as in images.elf.MACHINES. bits: 32 or 64, of its addresses. interpreter: its loader,
    empty without one. image_end: the end of the addresses that it occupies, absolute for a program
    that is linked at fixed addresses, else the length of its image. soname: its name as a library.
    needed: names or paths of the libraries without which it does not start (DT_NEEDED, DT_FILTER).
    optional: libraries that its loader takes if they are there (DT_AUXILIARY, DT_AUDIT,
    DT_DEPAUDIT). rpath, runpath: directories as they stand there; a file with DT_RUNPATH has no
    rpath, for a loader ignores it. has_no_default_directories: whether its libraries are searched in
    its run path only.
    """

    machine: str
    bits: int = 64
    interpreter: str = ""
    image_end: int = 0
    soname: str = ""
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    has_no_default_directories: bool = False


def read_elf(path: Path) -> ElfFile | None:
    """Read the headers of a file; None if it is not an ELF file.

    Raises ElfError if it is damaged or not a regular file, OSError if it cannot be read.
    """
    try:
        with open_regular(path) as file:
            if file.read(4) != _MAGIC:
                return None
            return _Reader(file, os.fstat(file.fileno()).st_size).read()
    except NotRegularError:
        raise ElfError(f"{path} is not a regular file", "give the path of a program") from None
    except _Damage as damage:
        raise ElfError(
            f"{path} is a damaged ELF file: {damage}", "copy or build it again"
        ) from None


def is_elf_file(path: Path) -> bool:
    """Return whether a path leads to a regular file that starts as an ELF file, and is readable."""
    try:
        with open_regular(path) as file:
            return file.read(4) == _MAGIC
    except OSError:
        return False


class _Damage(Exception):
    pass


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    stored: int
    length: int


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._wide = True
        self._order = "<"
        self._names: bytes | None = None  # the string table of the dynamic section

    def read(self) -> ElfFile:
        head = self._bytes(0, 20, "its header")
        if head[4] not in (1, 2) or head[5] not in (1, 2):
            raise _Damage("its class or byte order is unknown")
        self._wide, self._order = head[4] == 2, "<" if head[5] == 1 else ">"
        segments = list(self._segments())
        dynamic = list(self._dynamic(segments))
        runpath = self._paths(segments, dynamic, _RUNPATH)
        flags = dict(dynamic).get(_FLAGS_1, 0)
        return ElfFile(
            machine=machine_of(head),
            bits=64 if self._wide else 32,
            interpreter=self._interpreter(segments),
            image_end=max((s.address + s.length for s in segments if s.kind == _LOAD), default=0),
            soname=next(self._strings(segments, dynamic, _SONAME), ""),
            needed=tuple(self._strings(segments, dynamic, _NEEDED, _FILTER)),
            optional=self._paths(segments, dynamic, _AUXILIARY, _AUDIT, _DEPAUDIT),
            rpath=() if runpath else self._paths(segments, dynamic, _RPATH),
            runpath=runpath,
            has_no_default_directories=bool(flags & _NO_DEFAULT_DIRECTORIES),
        )

    def _paths(
        self, segments: list[_Segment], dynamic: list[tuple[int, int]], *tags: int
    ) -> tuple[str, ...]:
        """Return the parts of strings that are lists with colons."""
        texts = self._strings(segments, dynamic, *tags)
        return tuple(each for text in texts for each in text.split(":") if each)

    def _bytes(self, offset: int, length: int, what: str) -> bytes:
        if offset + length > self._size:
            raise _Damage(f"{what} ends after the end of the file")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise _Damage(f"{what} cannot be read")
        return data

    def _unpack(self, layout: str, offset: int, what: str) -> tuple[int, ...]:
        layout = self._order + layout
        return struct.unpack(layout, self._bytes(offset, struct.calcsize(layout), what))

    def _segments(self) -> Iterator[_Segment]:
        what = "its program header table"
        (table,) = self._unpack("Q" if self._wide else "I", 32 if self._wide else 28, "its header")
        size, count = self._unpack("HH", 54 if self._wide else 42, "its header")
        layout = "IIQQQQQQ" if self._wide else "IIIIIIII"
        if count and size != struct.calcsize(f"<{layout}"):
            raise _Damage(f"{what} has entries of {size} bytes")
        if count > _MOST_HEADERS:
            raise _Damage(f"{what} has {count} entries")
        for at in range(count):
            entry = self._unpack(layout, table + at * size, what)
            if self._wide:
                kind, _, offset, address, _, stored, length, _ = entry
            else:
                kind, offset, address, _, stored, length, _, _ = entry
            segment = _Segment(kind, offset, address, stored, length)
            if kind in (_LOAD, _DYNAMIC, _INTERP) and offset + stored > self._size:
                raise _Damage(f"segment {at} ends after the end of the file")
            if kind == _LOAD and (stored > length or address + length >= 1 << 64):
                raise _Damage(f"segment {at} has impossible addresses")
            yield segment

    def _interpreter(self, segments: list[_Segment]) -> str:
        found = next((each for each in segments if each.kind == _INTERP), None)
        if found is None:
            return ""
        what = "the name of its loader"
        if not 2 <= found.stored <= _LONGEST_NAME:  # the kernel refuses it as well
            raise _Damage(f"{what} has {found.stored} bytes")
        name, end, _ = self._bytes(found.offset, found.stored, what).partition(b"\0")
        if not (name and end):
            raise _Damage(f"{what} is empty or has no end")
        return _text(name, what)

    def _dynamic(self, segments: list[_Segment]) -> Iterator[tuple[int, int]]:
        found = next((each for each in segments if each.kind == _DYNAMIC), None)
        if found is None:
            return
        layout = f"{self._order}{'QQ' if self._wide else 'II'}"
        size = struct.calcsize(layout)
        if found.stored // size > _MOST_ENTRIES:
            raise _Damage("its dynamic section is too large")
        data = self._bytes(found.offset, found.stored // size * size, "its dynamic section")
        for tag, value in struct.iter_unpack(layout, data):
            if tag == 0:
                return
            yield tag, value

    def _strings(
        self, segments: list[_Segment], dynamic: list[tuple[int, int]], *tags: int
    ) -> Iterator[str]:
        """Yield the strings of the dynamic section that have one of these tags."""
        offsets = [value for tag, value in dynamic if tag in tags]
        if not offsets:
            return
        if self._names is None:
            self._names = self._string_table(segments, dict(dynamic))
        for offset in offsets:
            end = self._names.find(b"\0", offset)
            if offset >= len(self._names) or end < 0:
                raise _Damage("a name is outside of its string table")
            yield _text(self._names[offset:end], "the name of a library")

    def _string_table(self, segments: list[_Segment], values: dict[int, int]) -> bytes:
        address, size = values.get(_STRTAB), values.get(_STRSZ)
        what = "its string table"
        if address is None or size is None or size > _MOST_STRINGS:
            raise _Damage(f"{what} is missing or too large")
        holds = (each for each in segments if each.kind == _LOAD)
        place = next(
            (s.offset + address - s.address for s in holds if 0 <= address - s.address < s.stored),
            None,
        )
        if place is None:
            raise _Damage(f"{what} is in no segment")
        return self._bytes(place, size, what)


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _Damage(f"{what} is not UTF-8") from None
    if not text.isprintable() or len(text) > _LONGEST_NAME:
        raise _Damage(f"{what} has characters that no name has")
    return text
