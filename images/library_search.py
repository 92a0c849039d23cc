"""Finds the shared libraries of a program as its loader does.

Neither the loader nor the program is executed or mapped: all files are read. The search covers all
variants of a library for different processors (glibc-hwcaps), because a guest may have another
processor than this machine.

Source: elf/dl-load.c, elf/dl-cache.c and sysdeps/generic/dl-cache.h of glibc 2.36; ldso/dynlink.c of
musl 1.2.3; ld.so(8).
"""

from __future__ import annotations

import errno
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from foothold_lab.images.elf_file import ElfError, ElfFile, read_elf
from foothold_lab.images.errors import ImageError
from foothold_lab.images.loader_cache import LoaderCache
from foothold_lab.images.regular_file import open_regular

_MOST_LINKS = 40  # as the kernel does: MAXSYMLINKS
_MOST_OBJECTS = 4096
_MOST_CONFIGURATION = 64 << 20  # bytes of /etc/ld.so.cache
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
_PLATFORMS = {"x86_64": ("haswell", "xeon_phi", "x86_64")}  # $PLATFORM; else the machine itself
# glibc before 2.37 searches these directories below each directory, and combinations in this order
_LEGACY = (("tls",), ("haswell", "xeon_phi"), ("avx512_1",), ("x86_64",))
_LEGACY_NAMES = frozenset(name for names in _LEGACY for name in names)
_SYSTEM_CACHE = "/etc/ld.so.cache"
_CACHE_NAME = re.compile(rb"\0(/[!-~]{0,4000}/ld\.so\.cache)\0")
_DIRECTORY_LIST = re.compile(rb"\0((?:/[!-~]{1,4000}/\0)+)")
# names that musl resolves to itself, up to the first dot after `lib`
_OF_MUSL = frozenset(("c", "pthread", "rt", "m", "dl", "util", "xnet"))


class MissingLibraryError(ImageError):
    """A library that a program needs was not found. `name` is its name, `needed_by` a path."""

    def __init__(self, name: str, needed_by: str) -> None:
        super().__init__(f"{needed_by} needs {name}, which was not found", "install it")
        self.name = name
        self.needed_by = needed_by


@dataclass(frozen=True, kw_only=True)
class SearchRoot:
    """Where a loader searches.

    loader: its absolute path in `root`. directories: those that it searches last; empty: those that
    a loader at this path was built with. environment: LD_LIBRARY_PATH and LD_PRELOAD of the program.
    """

    loader: str
    root: Path = Path("/")
    directories: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def file(self, path: str) -> Path:
        """Return the file that has this path in the root. Links never lead out of the root."""
        return Path(path) if self.root == Path("/") else resolve_beneath(self.root, path)

    def is_file(self, path: str) -> bool:
        """Return whether the root has a file with this path."""
        try:
            return self.file(path).is_file()
        except OSError:
            return False

    def is_directory(self, path: str) -> bool:
        """Return whether the root has a directory with this path."""
        try:
            return self.file(path).is_dir()
        except OSError:
            return False

    def contents(self, path: str) -> bytes:
        """Return the contents of a configuration file, empty if it cannot be read."""
        try:
            with open_regular(self.file(path)) as opened:
                return opened.read(_MOST_CONFIGURATION)
        except OSError:
            return b""

    @cached_property
    def loader_directory(self) -> str:
        """The directory of the loader in the root, without links and without a first /usr."""
        real = self.file(self.loader).resolve().parent
        path = f"/{real.relative_to(self.root.resolve())}"
        return path.removeprefix("/usr") if path.startswith("/usr/lib") else path


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a loader takes for a program.

    files: the loader, the libraries and the loader's configuration, by their absolute paths in the
    root. run_path: directories of RPATH and RUNPATH of all these files.
    """

    files: Mapping[str, Path]
    run_path: tuple[str, ...] = ()


def find_libraries(program: Path, where: SearchRoot) -> Found:
    """Find what the loader takes for a program.

    Raises MissingLibraryError, ElfError for a damaged library, OSError if the program cannot be read.
    """
    headers = read_elf(program)
    if headers is None:
        raise ElfError(f"{program} is not an ELF program", "give the path of a program")
    loader: _Loader = _Musl(where) if "musl" in Path(where.loader).name else _Glibc(where, headers)
    files = {where.loader: where.file(where.loader)}
    objects = _Closure(where, loader, headers.bits, headers.machine)
    main = _Object(path=str(program.resolve()), headers=headers)
    directories = dict.fromkeys(loader.run_path(main))
    for found in objects.of(main):
        path = os.path.normpath(found.path)
        files[path] = Path(path) if where.root == Path("/") else where.file(found.path)
        directories |= dict.fromkeys(loader.run_path(found))
    for path in loader.configuration:
        if where.is_file(path):
            files[path] = where.file(path)
    return Found(files=files, run_path=tuple(map(os.path.normpath, directories)))


def resolve_beneath(root: Path, path: str) -> Path:
    """Resolve all symbolic links of a path as if `root` were the root directory: chroot(2).

    Raises OSError (ELOOP) for too many links.
    """
    parts, place, links = deque(path.split("/")), list[str](), 0
    while parts:
        part = parts.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            del place[-1:]
            continue
        try:
            target = str(root.joinpath(*place, part).readlink())
        except OSError:  # not a link
            place.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            place.clear()
        parts.extendleft(reversed(target.split("/")))
    return root.joinpath(*place)


@dataclass(frozen=True, kw_only=True)
class _Object:
    """A loaded file: its path in the root, and the object that needed it first."""

    path: str
    headers: ElfFile
    needed_by: _Object | None = None

    @property
    def origin(self) -> str:
        return self.path.rpartition("/")[0] or "/"

    def chain(self) -> Iterator[_Object]:
        """Yield this object, the one that needed it, and so on to the program."""
        each: _Object | None = self
        while each:
            yield each
            each = each.needed_by


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a library may be. Only some processors use a variant."""

    path: str
    is_variant: bool = False


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    name: str
    by: _Object
    is_optional: bool


class _Loader(Protocol):
    """What differs between loaders."""

    @property
    def preloaded(self) -> tuple[str, ...]:
        """The libraries of LD_PRELOAD."""

    @property
    def configuration(self) -> tuple[str, ...]:
        """The paths of the files that it reads."""

    def is_itself(self, name: str) -> bool:
        """Return whether it takes itself for the library of this name."""

    def places(self, name: str, by: _Object) -> Iterator[_Place]:
        """Yield where it looks for a library that an object needs, in its order."""

    def run_path(self, of: _Object) -> Iterator[str]:
        """Yield the absolute directories that RPATH and RUNPATH of an object name."""


class _Closure:
    """The libraries of a program, and their libraries, breadth first."""

    def __init__(self, where: SearchRoot, loader: _Loader, bits: int, machine: str) -> None:
        self._where = where
        self._loader = loader
        self._kind = bits, machine
        self._known = {Path(where.loader).name, where.loader, _soname(where.file(where.loader))}

    def of(self, main: _Object) -> Iterator[_Object]:
        """Yield all libraries. Raises MissingLibraryError, ElfError."""
        pending = deque(
            _Wanted(name=name, by=main, is_optional=True) for name in self._loader.preloaded
        )
        pending.extend(_wanted_by(main))
        count = 0
        while pending:
            wanted = pending.popleft()
            if wanted.name in self._known or self._loader.is_itself(wanted.name):
                continue
            found = list(self._search(wanted.name, wanted.by))
            if not found:
                if wanted.is_optional or _is_relative(wanted.name):
                    continue
                raise MissingLibraryError(wanted.name, wanted.by.path)
            self._known.add(wanted.name)
            for place, each in found:
                if (count := count + 1) > _MOST_OBJECTS:
                    what = f"{main.path} has more than {_MOST_OBJECTS} libraries"
                    raise ElfError(what, "link it statically")
                if each.headers.soname:
                    self._known.add(each.headers.soname)
                # a variant may have libraries for processors that this machine does not have
                needs_all = not (wanted.is_optional or (place.is_variant and len(found) > 1))
                pending.extend(_wanted_by(each, needs_all=needs_all))
                yield each

    def _search(self, name: str, by: _Object) -> Iterator[tuple[_Place, _Object]]:
        """Yield the first file that every processor uses, and the variants before it."""
        for place in self._loader.places(name, by):
            headers = self._read(place.path)
            if headers:
                yield place, _Object(path=place.path, headers=headers, needed_by=by)
                if not place.is_variant:
                    return

    def _read(self, path: str) -> ElfFile | None:
        """Read a file; None if it is missing, or for another machine. Raises ElfError."""
        try:
            headers = read_elf(self._where.file(path))
        except OSError:
            return None
        if headers is None:
            raise ElfError(f"{path} is not an ELF file", "install the package that has it again")
        return headers if (headers.bits, headers.machine) == self._kind else None


def _soname(loader: Path) -> str:
    try:
        headers = read_elf(loader)
    except (ElfError, OSError):
        return ""
    return headers.soname if headers else ""


def _wanted_by(each: _Object, *, needs_all: bool = True) -> Iterator[_Wanted]:
    for name in each.headers.needed:
        yield _Wanted(name=name, by=each, is_optional=not needs_all)
    for name in each.headers.optional:
        yield _Wanted(name=name, by=each, is_optional=True)


def _is_relative(name: str) -> bool:
    """Is it a path in the working directory, which only the guest has?"""
    return "/" in name and not name.startswith(("/", "$"))


class _Glibc:
    """The loader of glibc."""

    def __init__(self, where: SearchRoot, program: ElfFile) -> None:
        self._where = where
        self._platforms = _PLATFORMS.get(program.machine, (program.machine,))
        self._variants: dict[str, list[str]] = {}
        home = where.loader_directory
        cache, directories = _SYSTEM_CACHE, where.directories
        if home.startswith("/lib"):
            directories = directories or (home, f"/usr{home}", "/lib", "/usr/lib")
        elif not directories:
            cache, directories = _built_in(where.contents(where.loader))
        self.configuration = (cache,)
        self._directories = tuple(dict.fromkeys(directories))

    @property
    def preloaded(self) -> tuple[str, ...]:
        names = re.split("[ :]", self._where.environment.get("LD_PRELOAD", ""))
        return tuple(name for name in names if name)

    def is_itself(self, name: str) -> bool:
        return False

    def run_path(self, of: _Object) -> Iterator[str]:
        yield from self._expanded(of.headers.rpath, of)
        yield from self._expanded(of.headers.runpath, of)

    def places(self, name: str, by: _Object) -> Iterator[_Place]:
        if "/" in name:
            yield from (_Place(path=path) for path in self._expanded((name,), by))
            return
        if not by.headers.runpath:
            for each in by.chain():
                yield from self._in(self._expanded(each.headers.rpath, each), name)
        paths = re.split("[:;]", self._where.environment.get("LD_LIBRARY_PATH", ""))
        yield from self._in(self._expanded(paths, list(by.chain())[-1]), name)
        yield from self._in(self._expanded(by.headers.runpath, by), name)
        for entry in self._cache.find(name):
            folder = entry.path.rpartition("/")[0]
            if not (by.headers.has_no_default_directories and folder in self._directories):
                yield _Place(path=entry.path, is_variant=entry.is_variant)
        if not by.headers.has_no_default_directories:
            yield from self._in(self._directories, name)

    @cached_property
    def _cache(self) -> LoaderCache:
        return LoaderCache(self._where.contents(self.configuration[0]))

    def _expanded(self, paths: tuple[str, ...] | list[str], of: _Object) -> Iterator[str]:
        """Yield the absolute ones of these paths, with values in place of $ORIGIN and the others."""
        library = self._where.loader_directory.lstrip("/")
        for path in paths:
            for platform in self._platforms if "PLATFORM" in path else ("",):
                values = {"ORIGIN": of.origin, "LIB": library, "PLATFORM": platform}
                expanded = _expand(path, values)
                if expanded.startswith("/"):  # others are in the working directory of the guest
                    yield expanded

    def _in(self, directories: Iterator[str] | tuple[str, ...], name: str) -> Iterator[_Place]:
        for directory in directories:
            for variant in self._variants_below(directory):
                yield _Place(path=f"{directory}/{variant}/{name}", is_variant=True)
            yield _Place(path=f"{directory}/{name}")

    def _variants_below(self, directory: str) -> list[str]:
        """Return the directories with variants, relative to a directory."""
        if directory not in self._variants:
            names = self._names(directory)
            found = []
            if "glibc-hwcaps" in names:
                found += [
                    f"glibc-hwcaps/{each}"
                    for each in sorted(self._names(f"{directory}/glibc-hwcaps"), reverse=True)
                ]
            if not names.isdisjoint(_LEGACY_NAMES):
                found += _legacy_combinations()
            self._variants[directory] = found
        return self._variants[directory]

    def _names(self, directory: str) -> set[str]:
        try:
            return set(os.listdir(self._where.file(directory)))  # noqa: PTH208 - names only
        except OSError:
            return set()


def _built_in(loader: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the cache and the default directories that a glibc was built with, from its loader.

    Its strings system_dirs follow each other: elf/dl-load.c. Without them it is taken for Debian's.
    """
    cache = _CACHE_NAME.search(loader)
    lists = (match[1].decode().split("\0") for match in _DIRECTORY_LIST.finditer(loader))
    found = next((each for each in lists if any("/lib" in name for name in each)), [])
    directories = tuple(each.rstrip("/") for each in found if each)
    return cache[1].decode() if cache else _SYSTEM_CACHE, directories or ("/lib", "/usr/lib")


def _legacy_combinations() -> list[str]:
    found = [""]
    for names in reversed(_LEGACY):
        found = [*(f"{name}/{rest}".rstrip("/") for name in names for rest in found), *found]
    return [each for each in found if each]


class _Musl:
    """The loader of musl, which is its libc as well."""

    def __init__(self, where: SearchRoot) -> None:
        self._where = where
        prefix = where.loader.rpartition("/")[0].rpartition("/")[0]
        name = Path(where.loader).name.removesuffix(".1").removesuffix(".so")
        self.configuration = (f"{prefix}/etc/{name}.path",)

    @property
    def preloaded(self) -> tuple[str, ...]:
        names = re.split(r"[\s:]", self._where.environment.get("LD_PRELOAD", ""))
        return tuple(name for name in names if name)

    def is_itself(self, name: str) -> bool:
        return name.startswith("lib") and name[3:].partition(".")[0] in _OF_MUSL

    def run_path(self, of: _Object) -> Iterator[str]:
        for path in of.headers.runpath or of.headers.rpath:
            expanded = _expand(path, {"ORIGIN": of.origin})
            if expanded.startswith("/"):
                yield expanded

    def places(self, name: str, by: _Object) -> Iterator[_Place]:
        if "/" in name:
            if name.startswith("/"):
                yield _Place(path=name)
            return
        directories = re.split(r"[\n:]", self._where.environment.get("LD_LIBRARY_PATH", ""))
        for each in by.chain():
            directories += self.run_path(each)
        for directory in (*directories, *self._directories):
            if directory.startswith("/"):
                yield _Place(path=f"{directory}/{name}")

    @cached_property
    def _directories(self) -> list[str]:
        text = os.fsdecode(self._where.contents(self.configuration[0]).partition(b"\0")[0])
        found = [each for each in re.split(r"[\n:]", text) if each]
        return found or ["/lib", "/usr/local/lib", "/usr/lib", *self._where.directories]


def _expand(path: str, values: Mapping[str, str]) -> str:
    return _TOKEN.sub(lambda match: values.get(match[1] or match[2], match[0]), path)
