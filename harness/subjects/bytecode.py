"""The bytecode of the allocator, for the Python of this process and for those of guests.

Each Python compiles the allocator once, on this machine. Without bytecode the allocator compiles
itself at every start: 0.7 s under emulation, more than all the rest of a cell.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from foothold_lab import allocator
from foothold_lab.allocator import bundle
from foothold_lab.images import rootfs
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import Port

_MAKE = (
    "import pathlib, sys; from allocator.bundle import write_bytecode; "
    "write_bytecode(pathlib.Path(sys.argv[1]))"
)


def for_guest(port: Port | None, builder: Builder) -> tuple[Path, ...]:
    """Return the files that `bundle.write` takes, for a guest with the root file system of a port;
    None: with that of the host.
    """
    if port is None or _has_our_python(port, builder):
        return _obtain(builder, importlib.util.MAGIC_NUMBER, _ours)
    root = builder.image(port.image("userland"))
    emulators = builder.image(port.emulators) if port.foreign else None
    folder = str(Path(allocator.__file__).parent.parent)

    def make(out: Path) -> Mapping[str, object]:
        rootfs.run_python(port, root, emulators, "-c", _MAKE, str(out), path=folder)
        return {"root": root.name}

    return _obtain(builder, root.name.encode(), make)


def _has_our_python(port: Port, builder: Builder) -> bool:
    root = builder.image(port.image("userland"))
    return rootfs.python_name(root) == f"python3.{sys.version_info.minor}"


def _ours(out: Path) -> Mapping[str, object]:
    bundle.write_bytecode(out)
    return {"python": sys.version}


def _obtain(
    builder: Builder, python: bytes, make: Callable[[Path], Mapping[str, object]]
) -> tuple[Path, ...]:
    sources = sorted(Path(allocator.__file__).parent.glob("*.py"))
    made_of = [python, *(each.read_bytes() for each in sources)]
    key = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in made_of)).hexdigest()
    return tuple(builder.obtain("bytecode", key, make).path.glob("bytecode-*"))
