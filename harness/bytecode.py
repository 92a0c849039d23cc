"""The allocator's bytecode for the Python of a guest's root, which makes it here, once.

Without it the allocator compiles itself at every start: 0.7 s under emulation, more than the rest.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import allocator
from images import roots
from images.builder import Builder
from images.ports import Port

_MAKE = (
    "import pathlib, sys; from allocator.bundle import write_bytecode; "
    "write_bytecode(pathlib.Path(sys.argv[1]))"
)


def for_root(port: Port, builder: Builder) -> tuple[Path, ...]:
    """Return the files that `bundle.write` takes; none if the bytecode of our own Python serves."""
    root = builder.image(port.image("userland"))
    if roots.python_of(root) == f"python3.{sys.version_info.minor}":
        return ()
    emulators = builder.image(roots.EMULATORS) if port.foreign else None
    package = Path(allocator.__file__).parent

    def make(out: Path) -> Mapping[str, object]:
        folder = str(package.parent)
        roots.run_python(port, root, emulators, "-c", _MAKE, str(out), path=folder)
        return {"root": root.name}

    made_of = [root.name.encode(), *(each.read_bytes() for each in sorted(package.glob("*.py")))]
    key = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in made_of)).hexdigest()
    entry = builder.obtain("bytecode", key, make)
    return tuple(entry.path.glob("bytecode-*"))
