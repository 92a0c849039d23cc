"""The first code of the deployed package, started as a script: fast imports, then the program.

Started so, Python itself imports nothing for it: for a package or a zip file it would import
`runpy`, a fifth of a cell's time under emulation. The bytecode of all modules lies beside this in
one file, if somebody has made it for this very Python, and the modules are made from it; else they
are compiled from their sources. See `bundle`.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

PACKAGE = "allocator"


class Bytecode:
    """A finder and loader of the package's modules, given their marshalled code by full name."""

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
        """The specification of one of the modules, None for any other."""
        if name not in self._codes:
            return None
        return self._spec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]

    def create_module(self, spec: "ModuleSpec") -> None:
        """As usual."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        exec(self._loads(self._codes[module.__name__]), module.__dict__)  # noqa: S102


def install(folder: str, magic: bytes, spec: "type[ModuleSpec]") -> bool:
    """Import from the folder's bytecode from now on; False if there is none of this magic."""
    from marshal import loads

    try:
        with open(f"{folder}/{bytecode_name(magic)}", "rb") as file:  # noqa: PTH123 - without pathlib
            codes = loads(file.read())  # noqa: S302 - as trusted as the sources
    except OSError:
        return False
    sys.meta_path.insert(0, Bytecode(codes, loads, spec))
    return True


def bytecode_name(magic: bytes) -> str:
    """The file that holds the bytecode for the Python with this magic number."""
    return f"bytecode-{magic.hex()}"


def begin() -> int:
    """Run the program of the folder that this file is in, and return its exit status."""
    folder = __file__.rpartition("/")[0] or "."
    external = sys.modules["_frozen_importlib_external"]
    if not install(folder, external.MAGIC_NUMBER, type(sys.__spec__)):
        sys.dont_write_bytecode = True
        # behind the standard library: other files of the user's may lie beside the folder
        sys.path.append(f"{folder}/..")
    from allocator.__main__ import main

    return main()


if __name__ == "__main__":
    from posix import _exit

    _exit(begin())  # all is written; taking the interpreter down would be a tenth of the start
