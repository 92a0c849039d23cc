"""The deployed form: a folder with a script in it that any Python from 3.11 on runs. Host only.

Everything about it serves the start. The bytecode of all modules lies there in one piece, for each
Python that has been asked for it; `boot` knows how to use it. Other Pythons compile the sources, if
these lie beside it.
"""

import ast
import importlib.util
import marshal
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

from .boot import PACKAGE as PACKAGE
from .boot import bytecode_name

SCRIPT = "boot.py"
MODULES = (
    "__init__", "__main__", "arena", "bitmap", "cache", "central", "death", "fixalloc", "foreign",
    "heap", "kernel", "malloc", "modelkernel", "mprof", "options", "policy", "realkernel", "report",
    "sizes", "span", "sparsearena", "stats", "sysmem", "trace", "value", "width", "workload",
)  # fmt: skip
"""What is deployed: all but what runs on the host only."""


def write(folder: Path, bytecode: Iterable[Path] = (), *, sources: bool = True) -> None:
    """Make the folder, which has to have the package's name. Raises OSError.

    `bytecode` are files that `write_bytecode` has made. Without `sources` only the Pythons run it
    for which there is bytecode, and it is half as large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(__file__).parent
    for name in (SCRIPT, *(f"{name}.py" for name in MODULES if sources)):
        shutil.copyfile(here / name, folder / name)
    for each in bytecode:
        shutil.copyfile(each, folder / each.name)


def write_bytecode(folder: Path) -> None:
    """Write the bytecode for the Python that runs this, as a file of the name that it has there.

    The same sources and the same Python give the same bytes.
    """
    here = Path(__file__).parent
    # each by itself: of most programs half are needed
    codes = {_full_name(name): marshal.dumps(_compile(here / f"{name}.py")) for name in MODULES}
    (folder / bytecode_name(importlib.util.MAGIC_NUMBER)).write_bytes(marshal.dumps(codes))


def _full_name(name: str) -> str:
    return PACKAGE if name == "__init__" else f"{PACKAGE}.{name}"


def _compile(source: Path) -> CodeType:
    """Compile a module without its docstrings, a seventh of it, and with its assertions."""
    tree = ast.parse(source.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
    name = f"{PACKAGE}/{source.name}"
    code: CodeType = compile(tree, name, "exec", dont_inherit=True, optimize=0)
    return code
