"""The loader and the libraries that a dynamically linked program brings into a guest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images import elf
from foothold_lab.images.debian_arch import PORTS

_CACHE = "etc/ld.so.cache"  # where a loader finds libraries of other directories: ldconfig(8)


def of_host(program: Path, loader: str) -> dict[str, Path]:
    """Return the loader of a program and the libraries that it finds, by their absolute paths.

    The program is not executed. Raises UsageError for a missing loader or library.
    """
    if not Path(loader).exists():
        libc = "musl" if "musl" in loader else "another libc"
        raise UsageError(
            f"{program} is made for {libc}: its loader {loader} is not on this machine",
            "link it statically, or give its libraries by --sysroot",
        )
    argv = [loader, "--list", str(program)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    found = {loader: Path(loader)}
    for line in done.stdout.splitlines():
        name, arrow, place = line.strip().partition(" => ")
        if arrow and place.startswith("not found"):
            raise UsageError(
                f"{program} needs {name}, which is not on this machine",
                "install it, or name its directory in LD_LIBRARY_PATH",
            )
        if arrow and place.startswith("/"):
            path = os.path.normpath(place.rpartition(" (")[0])
            found[path] = Path(path)
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).removeprefix(f"{program}: ")
        raise UsageError(
            f"{program} cannot be loaded: {why}",
            "install what is missing, name its directory in LD_LIBRARY_PATH, or, if it finds its "
            "files beside itself, take --root host",
        )
    cache = Path("/", _CACHE)
    if cache.is_file():
        found[str(cache)] = cache
    return found


def of_sysroot(program: Path, loader: str, sysroot: Path) -> dict[str, Path]:
    """Return the loader and libraries in a root file system, by their absolute paths in it.

    Raises UsageError for a missing loader or library.
    """
    triplets = [port.libraries for port in PORTS.values() if port.machine == elf.machine(program)]
    names = [
        f"{lib}{end}"
        for end in (*(f"/{each}" for each in triplets), "")
        for lib in ("lib", "usr/lib", "lib64", "usr/lib64")
    ]
    folders = [sysroot / name for name in names if (sysroot / name).is_dir()]
    if not folders:
        raise UsageError(f"--sysroot {sysroot}: there is no directory lib, nor usr/lib, in it")
    wanted, seen, found = [Path(loader).name, *elf.needed(program)], set[str](), dict[str, Path]()
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
        file = _within(sysroot, place)
        found[loader if name == Path(loader).name else f"/{place.relative_to(sysroot)}"] = file
        wanted += elf.needed(file)
    if (sysroot / _CACHE).is_file():
        found[f"/{_CACHE}"] = sysroot / _CACHE
    return found


def _within(root: Path, path: Path) -> Path:
    """Resolve symbolic links relative to that root."""
    for _ in range(40):  # as the kernel does
        if not path.is_symlink():
            break
        target = path.readlink()
        path = root / str(target)[1:] if target.is_absolute() else path.parent / target
    return path
