"""The deployed form: one zip file that any Python from 3.11 on runs. Host only.

Everything about it serves the start. It is not compressed, so that no decompressor is loaded.
Beside the sources lies their bytecode for the Python that built it, in one piece, which `boot`
knows how to use, and for other Pythons if they have made it; the rest compile the sources. And it
has a `contextlib` and a `functools` of its own: to run a zip file the interpreter puts it first on
its path and imports `runpy`, which in 3.11 leads to these two for the sake of two decorators, and
they cost as much as `ctypes`.
"""

import importlib.util
import marshal
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType

from .boot import PACKAGE, bytecode_name

MODULES = (
    "__init__", "__main__", "arena", "bitmap", "cache", "central", "death", "fixalloc", "heap",
    "kernel", "malloc", "modelkernel", "mprof", "options", "policy", "realkernel", "report",
    "sizes", "span", "sparsearena", "stats", "sysmem", "trace", "value", "width",
    "workload",
)  # fmt: skip
"""What is deployed: all but what runs on the host only."""

DECORATORS = {
    "contextlib.py": "def contextmanager(function):\n    return function\n",
    "functools.py": "def wraps(wrapped):\n    return lambda function: function\n",
}
EPOCH = (1980, 1, 1, 0, 0, 0)


def write(path: Path, more: Iterable[Path] = ()) -> None:
    """Write the file; the same sources and the same Python give the same bytes. Raises OSError.

    `more` are files that `write_bytecode` has made under other Pythons.
    """
    here = Path(__file__).parent
    sources = {name: (here / f"{name}.py").read_bytes() for name in MODULES}
    entries = {f"{PACKAGE}/{name}.py": source for name, source in sources.items()}
    entries["__main__.py"] = (here / "boot.py").read_bytes()
    entries["__main__.pyc"] = _pyc("__main__.py", entries["__main__.py"])
    entries |= {name: source.encode() for name, source in DECORATORS.items()}
    entries |= {f"{name}c": _pyc(name, source.encode()) for name, source in DECORATORS.items()}
    entries |= {each.name: each.read_bytes() for each in more}
    entries[bytecode_name(importlib.util.MAGIC_NUMBER)] = _bytecode(sources)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, wherever it was built
            archive.writestr(entry, data)


def write_bytecode(folder: Path) -> None:
    """Write the bytecode for the Python that runs this, as a file of the name that it has there."""
    here = Path(__file__).parent
    sources = {name: (here / f"{name}.py").read_bytes() for name in MODULES}
    (folder / bytecode_name(importlib.util.MAGIC_NUMBER)).write_bytes(_bytecode(sources))


def _bytecode(sources: Mapping[str, bytes]) -> bytes:
    codes = {_full_name(name): _compile(f"{PACKAGE}/{name}.py", sources[name]) for name in MODULES}
    return marshal.dumps(codes)


def _full_name(name: str) -> str:
    return PACKAGE if name == "__init__" else f"{PACKAGE}.{name}"


def _compile(name: str, source: bytes) -> CodeType:
    code: CodeType = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return code


def _pyc(name: str, source: bytes) -> bytes:
    """A .pyc that is not checked against its source (PEP 552)."""
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    return header + importlib.util.source_hash(source) + marshal.dumps(_compile(name, source))
