"""Reads /etc/ld.so.cache, in which the loader of glibc finds libraries; ldconfig(8).

Source: sysdeps/generic/dl-cache.h and elf/dl-cache.c of glibc 2.36. A loader ignores a cache that is
damaged; such a cache has no entries here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

_OLD_MAGIC = b"ld.so-1.7.0\0"  # of glibc before 2.2; a new cache may follow an old one
_OLD_HEADER, _OLD_ENTRY, _ALIGNMENT = 16, 12, 8
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")  # magic, entries, bytes of strings, flags, extensions
_ENTRY = struct.Struct("<iIIIQ")  # flags, offsets of name and path, unused, hwcap
_KIND, _LIBC6 = 0xFF, 3  # of flags: an ELF library for this libc


@dataclass(frozen=True)
class Entry:
    """The path of a library. Only some processors use a variant."""

    path: str
    is_variant: bool


class LoaderCache:
    """The entries of a cache. Strings are read when they are looked up: most never are."""

    def __init__(self, data: bytes) -> None:
        self._data = _new_cache(data)
        self._places: dict[int, list[tuple[int, bool]]] = {}  # of paths, by the place of the name
        for flags, name, path, _, hwcap in _ENTRY.iter_unpack(self._table()):
            if flags & _KIND == _LIBC6:
                self._places.setdefault(name, []).append((path, hwcap != 0))

    def find(self, name: str) -> list[Entry]:
        """Return the entries for the name of a library, the variants first."""
        encoded = os.fsencode(name) + b"\0"
        found = []
        at = self._data.find(encoded) if self._places else -1
        while at >= 0:  # a string may be the end of another one
            for place, is_variant in self._places.get(at, ()):
                path = self._string(place)
                if path.startswith("/"):
                    found.append(Entry(path, is_variant))
            at = self._data.find(encoded, at + 1)
        return sorted(found, key=lambda entry: not entry.is_variant)

    def _table(self) -> bytes:
        if len(self._data) < _HEADER.size:
            return b""
        end = _HEADER.size + _HEADER.unpack_from(self._data)[1] * _ENTRY.size
        return self._data[_HEADER.size : end] if end <= len(self._data) else b""

    def _string(self, start: int) -> str:
        """Return the text up to the next NUL, empty without one."""
        end = self._data.find(b"\0", start)
        return os.fsdecode(self._data[start:end]) if end >= 0 else ""


def _new_cache(data: bytes) -> bytes:
    """Return the part with the new format, empty without one."""
    if data.startswith(_OLD_MAGIC) and len(data) >= _OLD_HEADER:
        (count,) = struct.unpack_from("<I", data, len(_OLD_MAGIC))
        end = _OLD_HEADER + count * _OLD_ENTRY
        data = data[end + -end % _ALIGNMENT :]
    return data if data.startswith(_MAGIC) else b""
