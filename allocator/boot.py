"""The script that starts the deployed package with fast imports.

A script starts faster than a package or a zip file, for which Python imports `runpy` first: a fifth
of a cell's time under emulation. If a file beside this script holds the bytecode of all modules for
the running version of Python, the modules are loaded from it. Otherwise they are compiled from
their sources. See `bundle`.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

PACKAGE = "allocator"


class Bytecode:
    """Finds and loads the package's modules from their marshalled code, by full name."""

    def __init__(
        self,
        codes: "Mapping[str, bytes]",
        loads: "Callable[[bytes], CodeType]",
        spec: "type[ModuleSpec]",
    ) -> None:
        self._codes = codes
        self._loads = loads
        self._spec = spec

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> "ModuleSpec | None":
        """Return the specification of a module of the package, None for any other."""
        if name not in self._codes:
            return None
        return self._spec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]

    def create_module(self, spec: "ModuleSpec") -> None:
        """Let Python create the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        exec(self._loads(self._codes[module.__name__]), module.__dict__)  # noqa: S102


def install(folder: str, magic: bytes, spec: "type[ModuleSpec]") -> bool:
    """Import from the folder's bytecode. Returns False if it has none with this magic number."""
    from marshal import loads

    try:
        with open(f"{folder}/{bytecode_name(magic)}", "rb") as file:  # noqa: PTH123 - without pathlib
            codes = loads(file.read())  # noqa: S302 - as trusted as the sources
    except OSError:
        return False
    sys.meta_path.insert(0, Bytecode(codes, loads, spec))
    return True


def bytecode_name(magic: bytes) -> str:
    """Name the file with the bytecode for the Python with this magic number."""
    return f"bytecode-{magic.hex()}"


def begin() -> int:
    """Run the program in the folder of this file and return its exit status."""
    folder = __file__.rpartition("/")[0] or "."
    external = sys.modules["_frozen_importlib_external"]
    if not install(folder, external.MAGIC_NUMBER, type(sys.__spec__)):
        sys.dont_write_bytecode = True
        # after the standard library, because the parent folder may hold other files of the user
        sys.path.append(f"{folder}/..")
    from allocator.__main__ import main

    return main()


if __name__ == "__main__":
    from posix import _exit

    _exit(
        begin()
    )  # all output is written; the interpreter's own exit would take a tenth of the start
