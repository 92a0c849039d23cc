"""The files that a libc loads while a program runs: character sets, locales, name services.

A libc has the directories of these files in itself, as text. A file is brought only if the program
or one of its libraries has the name of a function that loads it, because all of them are larger than
most programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from foothold_lab.images.regular_file import open_regular, overlapping_blocks

MOST_BYTES = 32 << 20  # of one directory; those of Debian's libc 2.36 have 8 MiB and 0.4 MiB

_DIRECTORY = re.compile(rb"\0(/[!-~]{1,200}/(?:gconv|locale))(?=[\0/])")
_CONVERTS = (b"iconv_open\0",)
_LOCALIZES = (b"setlocale\0", b"newlocale\0")
_LOOKS_UP = (b"getpw", b"getgr", b"getaddrinfo\0", b"gethostby", b"initgroups\0")
_SERVICES = ("libnss_files.so.2", "libnss_dns.so.2")  # in libc itself since 2.34
_VARIABLES = ("LANG", "LC_", "LANGUAGE")


def libc_data(
    program: Path, libraries: Mapping[str, Path], environment: Mapping[str, str], root: Path
) -> Iterator[str]:
    """Yield the absolute paths of these files below a root file system.

    `libraries` are those of the program, by their absolute paths. All locales are brought if the
    environment of the program names one, else only C.UTF-8.
    """
    libc = next((path for path in libraries if path.endswith("/libc.so.6")), "")
    if not libc:
        return
    users = [program, *(file for path, file in libraries.items() if path != libc)]
    found = {match.decode() for match in _DIRECTORY.findall(libraries[libc].read_bytes())}
    localized = _wants_locale(environment)
    if localized or _have(users, _CONVERTS):
        for directory in (each for each in found if each.endswith("/gconv")):
            yield from _files(root, directory)
    if localized or _have(users, _LOCALIZES):
        for directory in (each for each in found if each == "/usr/lib/locale"):
            yield from _files(root, directory if localized else f"{directory}/C.utf8")
    if _have(users, _LOOKS_UP):
        folder = libc.rpartition("/")[0]
        yield from (
            f"{folder}/{name}" for name in _SERVICES if _below(root, folder, name).is_file()
        )


def _wants_locale(environment: Mapping[str, str]) -> bool:
    return any(
        name.startswith(_VARIABLES) and value not in ("", "C", "POSIX")
        for name, value in environment.items()
    )


def _have(files: Iterable[Path], names: Iterable[bytes]) -> bool:
    """Is one of these names in one of these files? Their string tables name the imported functions."""
    wanted = tuple(names)
    overlap = max(map(len, wanted))
    for file in files:
        with open_regular(file) as opened:
            for block in overlapping_blocks(opened, overlap):
                if any(name in block for name in wanted):
                    return True
    return False


def _files(root: Path, directory: str) -> list[str]:
    """Return the files below a directory; none if they are larger than MOST_BYTES."""
    place = _below(root, directory)
    files = [each for each in sorted(place.rglob("*")) if each.is_file()]
    if sum(each.stat().st_size for each in files) > MOST_BYTES:
        return []
    return [f"{directory}/{each.relative_to(place)}" for each in files]


def _below(root: Path, *parts: str) -> Path:
    return root.joinpath(*(part.lstrip("/") for part in parts))
