"""Names for a debugger: an ELF file with nothing in it but a symbol table.

Debian ships no symbols for its UML kernels, but a running kernel knows where its functions are, in
/proc/kallsyms. elf(5).
"""

from __future__ import annotations

import re
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
_LAST = (1 << 64) - 2 * _PAGE  # the page after it has an address
_LINE = re.compile(r"([0-9a-f]{1,16}) [tTwW] (\S+)", re.ASCII)


@dataclass(frozen=True)
class Symbol:
    """A function of the kernel's, and where it is."""

    address: int
    name: str


def has_symbols(path: Path) -> bool:
    """Has a 64-bit ELF file a symbol table of its own, or was it stripped? False if it is damaged."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
            (table,) = struct.unpack_from("<Q", head, 40)
            size, count = struct.unpack_from("<HH", head, 58)
            file.seek(table)
            sections = file.read(size * count)
        kinds = [struct.unpack_from("<I", sections, size * n + 4)[0] for n in range(count)]
    except (struct.error, OSError, ValueError, OverflowError):
        return False
    return _SYMTAB in kinds


def parse_kallsyms(kallsyms: str) -> list[Symbol]:
    """Return the functions of the kernel proper, by address; proc(5), /proc/kallsyms.

    There are none if the kernel keeps its addresses to itself: then all of them are 0. The text comes
    from a guest: lines of another form are ignored.
    """
    found = (
        Symbol(int(match[1], 16), match[2])
        for match in map(_LINE.fullmatch, kallsyms.splitlines())
        if match
    )
    functions = (symbol for symbol in found if 0 < symbol.address <= _LAST)
    return sorted(functions, key=lambda symbol: symbol.address)


def symbol_file(symbols: list[Symbol]) -> bytes:
    """Return the ELF file. `symbols` are by address, and at least one."""
    start = symbols[0].address & -_PAGE
    end = (symbols[-1].address + _PAGE) & -_PAGE
    names = bytearray(b"\0")
    table = bytearray(_SYMBOL)  # the first is empty by definition
    for symbol, size in _with_sizes(symbols, end):
        table += struct.pack("<IBBHQQ", len(names), _LOCAL_FUNCTION, 0, 1, symbol.address, size)
        names += symbol.name.encode() + b"\0"
    titles = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    at_table = _HEADER
    at_names = at_table + len(table)
    at_titles = at_names + len(names)
    at_sections = (at_titles + len(titles) + 7) & -8
    count = len(table) // _SYMBOL
    sections = (
        _Section(
            title=".text", kind=_NOBITS, flags=_ALLOC_EXEC, address=start, offset=_HEADER,
            size=end - start,
        ),
        _Section(
            title=".symtab", kind=_SYMTAB, offset=at_table, size=len(table), link=3, info=count,
            entry_size=_SYMBOL,
        ),
        _Section(title=".strtab", kind=_STRTAB, offset=at_names, size=len(names)),
        _Section(title=".shstrtab", kind=_STRTAB, offset=at_titles, size=len(titles)),
    )  # fmt: skip
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
        len(sections) + 1,  # the first row is empty
        len(sections),
    )
    rows = bytes(_SECTION) + b"".join(section.pack(titles) for section in sections)
    body = header + bytes(table) + bytes(names) + titles
    return body + bytes(at_sections - len(body)) + rows


def _with_sizes(symbols: list[Symbol], end: int) -> Iterator[tuple[Symbol, int]]:
    """Each with its length: it ends where another one begins."""
    following = end
    sizes = []
    for at in range(len(symbols) - 1, -1, -1):
        if at + 1 < len(symbols) and symbols[at + 1].address != symbols[at].address:
            following = symbols[at + 1].address
        sizes.append(following - symbols[at].address)
    return zip(symbols, reversed(sizes), strict=True)


@dataclass(frozen=True, kw_only=True)
class _Section:
    """A row of the section header table (elf(5), Elf64_Shdr)."""

    title: str
    kind: int
    offset: int
    size: int
    flags: int = 0
    address: int = 0
    link: int = 0
    info: int = 0
    entry_size: int = 0

    def pack(self, titles: bytes) -> bytes:
        """Return the row. `titles` is the content of the section .shstrtab."""
        name = titles.index(b"\0" + self.title.encode() + b"\0") + 1
        return struct.pack(
            "<IIQQQQIIQQ", name, self.kind, self.flags, self.address, self.offset, self.size,
            self.link, self.info, 8, self.entry_size,
        )  # fmt: skip
