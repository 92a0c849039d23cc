"""The loader and the libraries that a dynamically linked program brings into a guest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.subjects.program_file import program_file
from foothold_lab.images.debian_arch import PORTS
from foothold_lab.images.elf_file import ElfError
from foothold_lab.images.library_search import (
    Found,
    MissingLibraryError,
    SearchRoot,
    find_libraries,
)


def of_host(program: Path, loader: str, environment: Mapping[str, str]) -> Found:
    """Find the loader of a program and its libraries on this machine.

    Nothing of the program is executed or mapped. `environment` is that of the program. Raises
    UsageError for a missing loader or library.
    """
    if not os.path.isfile(loader):  # noqa: PTH113 - Path raises for a name that is too long
        libc = "musl" if "musl" in loader else "another libc"
        raise UsageError(
            f"{program} is made for {libc}: its loader {loader} is not on this machine",
            "link it statically, or give its libraries by --sysroot",
        )
    if not loader.startswith("/"):
        raise UsageError(
            f"{program} names the loader {loader}, which is not an absolute path",
            "link it with an absolute path, give its libraries by --sysroot, or take --root host",
        )
    try:
        return _found(program, SearchRoot(loader=loader, environment=environment))
    except MissingLibraryError as error:
        raise UsageError(
            f"{error.needed_by} needs {error.name}, which is not on this machine",
            "install it, name its directory in LD_LIBRARY_PATH, or, if the program finds its files "
            "beside itself, take --root host",
        ) from error


def of_sysroot(program: Path, loader: str, sysroot: Path, environment: Mapping[str, str]) -> Found:
    """Find the loader of a program and its libraries in a root file system.

    Raises UsageError for a missing loader or library.
    """
    where = SearchRoot(root=sysroot, loader=loader, environment=environment)
    where = replace(where, directories=_library_directories(program, where))
    if not where.directories:
        raise UsageError(f"--sysroot {sysroot}: there is no directory lib, nor usr/lib, in it")
    name = Path(loader).name
    places = (f"{directory}/{name}" for directory in where.directories)
    place = next(filter(where.is_file, places), None)
    missing = f"{program} needs {{}}, which is not below {sysroot}"
    remedy = "give by --sysroot a root file system that has lib or usr/lib with it"
    if place is None:
        raise UsageError(missing.format(name), remedy)
    try:
        found = _found(program, where)
    except MissingLibraryError as error:
        raise UsageError(missing.format(error.name), remedy) from error
    return Found(files={**found.files, loader: where.file(place)}, run_path=found.run_path)


def _library_directories(program: Path, where: SearchRoot) -> tuple[str, ...]:
    """Return the directories of libraries that a root file system has for a program."""
    file = program_file(program)
    machine = file.machine if file else ""
    triplets = [port.libraries for port in PORTS.values() if port.machine == machine]
    names = (
        f"/{lib}{end}"
        for end in (*(f"/{each}" for each in triplets), "")
        for lib in ("lib", "usr/lib", "lib64", "usr/lib64")
    )
    return tuple(filter(where.is_directory, names))


def _found(program: Path, where: SearchRoot) -> Found:
    try:
        return find_libraries(program, where)
    except ElfError as error:
        raise UsageError(f"{program} cannot be loaded: {error}", error.remedy) from error
