"""Names for a debugger: an ELF file with nothing in it but a symbol table.

Debian ships no symbols for its UML kernels, but a running kernel knows where its functions are, in
/proc/kallsyms. elf(5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_EXECUTABLE, _X86_64 = 2, 62
_SYMTAB, _STRTAB, _NOBITS = 2, 3, 8
_ALLOC_EXEC = 0x2 | 0x4
_HEADER, _SECTION, _SYMBOL = 64, 64, 24
_LOCAL_FUNCTION = 0x02
_PAGE = 4096


@dataclass(frozen=True)
class Symbol:
    """A function of the kernel's, and where it is."""

    address: int
    name: str


def has_symbols(path: Path) -> bool:
    """Has a 64-bit ELF file a symbol table of its own, or was it stripped?"""
    with path.open("rb") as file:
        head = file.read(_HEADER)
        (table,) = struct.unpack_from("<Q", head, 40)
        size, count = struct.unpack_from("<HH", head, 58)
        file.seek(table)
        sections = file.read(size * count)
    kinds = (struct.unpack_from("<I", sections, size * n + 4)[0] for n in range(count))
    return _SYMTAB in kinds


def parse(kallsyms: str) -> list[Symbol]:
    """Return the functions of the kernel proper, by address; proc(5), /proc/kallsyms.

    There are none if the kernel keeps its addresses to itself: then all of them are 0.
    """
    found = []
    for line in kallsyms.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tTwW" and (address := int(words[0], 16)):
            found.append(Symbol(address, words[2]))
    return sorted(found, key=lambda symbol: symbol.address)


def elf_of(symbols: list[Symbol]) -> bytes:
    """Return the ELF file. `symbols` are by address, and at least one."""
    start = symbols[0].address & -_PAGE
    end = (symbols[-1].address + _PAGE) & -_PAGE
    names = bytearray(b"\0")
    table = bytearray(_SYMBOL)  # the first is empty by definition
    for symbol, size in _sized(symbols, end):
        table += struct.pack("<IBBHQQ", len(names), _LOCAL_FUNCTION, 0, 1, symbol.address, size)
        names += symbol.name.encode() + b"\0"
    titles = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    at_table = _HEADER
    at_names = at_table + len(table)
    at_titles = at_names + len(names)
    at_sections = (at_titles + len(titles) + 7) & -8
    count = len(table) // _SYMBOL
    sections = (
        bytes(_SECTION),
        _section(titles, ".text", _NOBITS, _ALLOC_EXEC, start, _HEADER, end - start),
        _section(titles, ".symtab", _SYMTAB, 0, 0, at_table, len(table), 3, count, _SYMBOL),
        _section(titles, ".strtab", _STRTAB, 0, 0, at_names, len(names)),
        _section(titles, ".shstrtab", _STRTAB, 0, 0, at_titles, len(titles)),
    )
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1",
        _EXECUTABLE,
        _X86_64,
        1,
        start,
        0,
        at_sections,
        0,
        _HEADER,
        0,
        0,
        _SECTION,
        len(sections),
        len(sections) - 1,
    )
    body = header + bytes(table) + bytes(names) + titles
    return body + bytes(at_sections - len(body)) + b"".join(sections)


def _sized(symbols: list[Symbol], end: int) -> Iterator[tuple[Symbol, int]]:
    """Each with its length: it ends where another one begins."""
    following = end
    sizes = []
    for at in range(len(symbols) - 1, -1, -1):
        if at + 1 < len(symbols) and symbols[at + 1].address != symbols[at].address:
            following = symbols[at + 1].address
        sizes.append(following - symbols[at].address)
    return zip(symbols, reversed(sizes), strict=True)


def _section(
    titles: bytes,
    title: str,
    kind: int,
    flags: int,
    address: int,
    offset: int,
    size: int,
    link: int = 0,
    info: int = 0,
    entry: int = 0,
) -> bytes:
    name = titles.index(b"\0" + title.encode() + b"\0") + 1
    return struct.pack(
        "<IIQQQQIIQQ", name, kind, flags, address, offset, size, link, info, 8, entry
    )
