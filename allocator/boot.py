"""The first code of the deployed file, its `__main__`: fast imports, then the program.

Importing from a zip file opens and searches it for every module. Here the bytecode of all modules
is read at once, if it is of this very Python, and the modules are made from it; else, as for any
zip file, they are compiled from their sources one by one. See `bundle`.
"""

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from zipimport import zipimporter

PACKAGE = "allocator"


class Bytecode:
    """A finder and loader of the package's modules, given their code by full name."""

    def __init__(self, codes: "Mapping[str, CodeType]", spec: "type[ModuleSpec]") -> None:
        self._codes = codes
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
        exec(self._codes[module.__name__], module.__dict__)  # noqa: S102


def install(archive: "zipimporter", magic: bytes, spec: "type[ModuleSpec]") -> bool:
    """Import from the archive's bytecode from now on; False if it has none of this magic."""
    try:
        codes = archive.get_data(f"{archive.archive}/{bytecode_name(magic)}")
    except OSError:
        return False
    finder = Bytecode(marshal.loads(codes), spec)  # noqa: S302 - as trusted as the sources
    sys.meta_path.insert(0, finder)
    return True


def bytecode_name(magic: bytes) -> str:
    """The entry that holds the bytecode for the Python with this magic number."""
    return f"bytecode-{magic.hex()}"


if __name__ == "__main__":
    external = sys.modules["_frozen_importlib_external"]
    install(globals()["__loader__"], external.MAGIC_NUMBER, type(__spec__))

    from os import _exit

    from allocator.__main__ import main

    _exit(main())  # all is written; taking the interpreter down would be a tenth of the start
