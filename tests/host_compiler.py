"""A C compiler for programs of this machine, also where none is installed."""

from __future__ import annotations

import functools
import shutil

from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64


@functools.cache
def host_compiler() -> tuple[str, ...]:
    """Return the start of a command line that compiles and links C: gcc, or the clang of the images."""
    if gcc := shutil.which("gcc"):
        return (gcc,)
    builder = Builder()
    libraries = builder.image(AMD64.image("root")) / "lib" / AMD64.libraries
    command = compiler.command(builder.image, AMD64)
    return (*map(str, command), "-static-libgcc", f"-L{libraries}")
