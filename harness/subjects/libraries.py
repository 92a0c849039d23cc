"""The loader and the libraries that a dynamically linked program brings into a guest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.subjects.program_file import program_file
from foothold_lab.images.debian_arch import PORTS

# directories that only the administrator of a machine writes
_PLACES_OF_LOADERS = ("/lib", "/usr/lib", "/usr/local/lib", "/nix/store/", "/gnu/store/")
_MOST_SHOWN = 500  # characters of what a loader printed
_CACHE = "etc/ld.so.cache"  # where a loader finds libraries of other directories: ldconfig(8)


def of_host(program: Path, loader: str) -> dict[str, Path]:
    """Return the loader of a program and the libraries that it finds, by their absolute paths.

    Nothing of the program is executed. Raises UsageError for a missing loader or library, and for a
    program that would have its loader execute something.
    """
    if not os.path.isfile(loader):  # noqa: PTH113 - Path raises for a name that is too long
        libc = "musl" if "musl" in loader else "another libc"
        raise UsageError(
            f"{program} is made for {libc}: its loader {loader} is not on this machine",
            "link it statically, or give its libraries by --sysroot",
        )
    _check_listing(program, loader)
    return listed_by(loader, program)


def listed_by(loader: str, program: Path) -> dict[str, Path]:
    """Return a loader and the libraries that it finds for a program, by their absolute paths.

    Executes the loader: for programs that this machine executes anyway. Raises UsageError for a
    missing library.
    """
    argv = [loader, "--list", str(program)]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{program} cannot be loaded: {error}", "build it again") from error
    found = {loader: Path(loader)}
    for line in done.stdout.splitlines():
        name, arrow, place = line.strip().partition(" => ")
        if arrow and place.startswith("not found"):
            raise UsageError(
                f"{program} needs {name}, which is not on this machine",
                "install it, or name its directory in LD_LIBRARY_PATH",
            )
        if arrow and place.startswith("/") and "\0" not in place:
            path = os.path.normpath(place.rpartition(" (")[0])
            found[path] = Path(path)
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).removeprefix(f"{program}: ")
        why = why[:_MOST_SHOWN] or f"its loader ended with {done.returncode}"
        raise UsageError(
            f"{program} cannot be loaded: {why}",
            "install what is missing, name its directory in LD_LIBRARY_PATH, or, if it finds its "
            "files beside itself, take --root host",
        )
    cache = Path("/", _CACHE)
    if cache.is_file():
        found[str(cache)] = cache
    return found


def _check_listing(program: Path, loader: str) -> None:
    """Raise UsageError if to list the libraries of a program would execute a file that it names.

    The loader is executed. A loader of glibc executes the libraries of DT_AUDIT, even to list the
    others (elf/rtld.c, audit_list_add_dynamic_tag).
    """
    own = program_file(Path(sys.executable))
    known = {os.path.realpath(own.interpreter)} if own else set()
    real = os.path.realpath(loader)
    if not real.startswith(_PLACES_OF_LOADERS) and real not in known:
        raise UsageError(
            f"{program} names the loader {loader}, which is not one of this machine",
            "give its loader and libraries by --sysroot, or take --root host",
        )
    file = program_file(program)
    if file and file.audits:
        raise UsageError(
            f"{program} makes its loader run {', '.join(file.audits)} (DT_AUDIT), also on this "
            "machine",
            "link it without --audit, or take --root host",
        )


def of_sysroot(program: Path, loader: str, sysroot: Path) -> dict[str, Path]:
    """Return the loader and libraries in a root file system, by their absolute paths in it.

    Raises UsageError for a missing loader or library.
    """
    file = program_file(program)
    machine = file.machine if file else ""
    triplets = [port.libraries for port in PORTS.values() if port.machine == machine]
    names = [
        f"{lib}{end}"
        for end in (*(f"/{each}" for each in triplets), "")
        for lib in ("lib", "usr/lib", "lib64", "usr/lib64")
    ]
    folders = [sysroot / name for name in names if (sysroot / name).is_dir()]
    if not folders:
        raise UsageError(f"--sysroot {sysroot}: there is no directory lib, nor usr/lib, in it")
    wanted, seen, found = [Path(loader).name, *_needed(program)], set[str](), dict[str, Path]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        places = (folder / name for folder in folders)
        place = next((each for each in places if _within(sysroot, each).is_file()), None)
        if place is None:
            raise UsageError(
                f"{program} needs {name}, which is not below {sysroot}",
                "give by --sysroot a root file system that has lib or usr/lib with it",
            )
        library = _within(sysroot, place)
        found[loader if name == Path(loader).name else f"/{place.relative_to(sysroot)}"] = library
        wanted += _needed(library)
    if (sysroot / _CACHE).is_file():
        found[f"/{_CACHE}"] = sysroot / _CACHE
    return found


def _needed(path: Path) -> tuple[str, ...]:
    """Return the names of the libraries that a file needs. Raises UsageError for a path."""
    file = program_file(path)
    needed = file.needed if file else ()
    if paths := [name for name in needed if "/" in name]:
        raise UsageError(
            f"{path} needs the library {paths[0]}, which is a path, not a name",
            "link it with libraries that have a soname",
        )
    return needed


def _within(root: Path, path: Path) -> Path:
    """Resolve symbolic links relative to that root."""
    for _ in range(40):  # as the kernel does
        if not path.is_symlink():
            break
        target = path.readlink()
        path = root / str(target)[1:] if target.is_absolute() else path.parent / target
    return path
