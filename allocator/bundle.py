"""The deployed form: one zip file that any Python 3.11 or later runs. Host only.

Everything about it serves the start. It is not compressed, so that no decompressor is loaded. Beside
each source lies its bytecode for the Python that built it, never checked against the source; other
versions pass it over and compile. And it has a `runpy` of its own: to run a zip the interpreter puts
it first on its path and then imports `runpy`, whose standard form costs as much as ctypes.
"""

import importlib.util
import marshal
import zipfile
from pathlib import Path

MODULES = (
    "__init__", "__main__", "arena", "bitmap", "cache", "central", "death", "fixalloc", "heap",
    "kernel", "malloc", "modelkernel", "options", "policy", "realkernel", "report", "sizes", "span",
    "sparsearena", "stats", "sysmem", "trace", "value", "workload",
)  # fmt: skip
"""What is deployed: all but what runs on the host only."""

RUNPY = '''\
"""Runs the zip file that it lies in: all of `runpy` that the interpreter asks for."""

import sys


def _run_module_as_main(name, alter_argv=True):
    """Run the program, whatever the name: there is one only."""
    from allocator.__main__ import main

    sys.exit(main())
'''
MAIN = '"""For those who import this file rather than run it."""\n'
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
EPOCH = (1980, 1, 1, 0, 0, 0)


def write(path: Path) -> None:
    """Write the file; the same sources and the same Python give the same bytes. Raises OSError."""
    here = Path(__file__).parent
    sources = {f"allocator/{name}.py": (here / f"{name}.py").read_bytes() for name in MODULES}
    sources["runpy.py"] = RUNPY.encode()
    sources["__main__.py"] = MAIN.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(sources.items()):
            _add(archive, name, source)
            _add(archive, name + "c", _bytecode(name, source))


def _bytecode(name: str, source: bytes) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source)
    return header + marshal.dumps(code)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    archive.writestr(entry, data)
