"""The deployed form: a folder with a script that Python 3.11 and later runs. Host only.

It is made for a fast start: one file for each version of Python holds the bytecode of all modules
(see `boot`). Other versions compile the sources, if the folder has them.
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
    "freelist", "heap", "kernel", "malloc", "modelkernel", "mprof", "options", "policy", "realkernel", "report",
    "sizes", "span", "sparsearena", "stats", "sysmem", "trace", "value", "width", "workload",
)  # fmt: skip
"""The deployed modules: all except those that run on the host only."""


def write(folder: Path, bytecode: Iterable[Path] = (), *, sources: bool = True) -> None:
    """Make the folder, which must have the package's name. Raises OSError.

    `bytecode` lists files made by `write_bytecode`. Without `sources` the folder is half as large,
    and only the versions of Python with bytecode can run it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(__file__).parent
    for name in (SCRIPT, *(f"{name}.py" for name in MODULES if sources)):
        shutil.copyfile(here / name, folder / name)
    for each in bytecode:
        shutil.copyfile(each, folder / each.name)


def write_bytecode(folder: Path) -> None:
    """Write the bytecode for the running Python into the folder.

    The same sources and the same Python give the same bytes.
    """
    here = Path(__file__).parent
    # each module separately, because most programs need only half of them
    codes = {_full_name(name): marshal.dumps(_compile(here / f"{name}.py")) for name in MODULES}
    (folder / bytecode_name(importlib.util.MAGIC_NUMBER)).write_bytes(marshal.dumps(codes))


def _full_name(name: str) -> str:
    return PACKAGE if name == "__init__" else f"{PACKAGE}.{name}"


def _compile(source: Path) -> CodeType:
    """Compile a module with its assertions, but without its docstrings (a seventh of the size)."""
    tree = ast.parse(source.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
    name = f"{PACKAGE}/{source.name}"
    code: CodeType = compile(tree, name, "exec", dont_inherit=True, optimize=0)
    return code
