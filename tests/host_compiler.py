"""C compilers: for programs of this machine, also where none is installed, and for other machines."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, Port


def dynamic_compiler(builder: Builder, port: Port) -> list[str | Path]:
    """Return the start of a command line that links C programs with the libraries of a port's root."""
    libraries = builder.image(port.image("root")) / "lib" / port.libraries
    return [*compiler.command(builder.image, port), "-static-libgcc", f"-L{libraries}"]


@functools.cache
def host_compiler() -> tuple[str | Path, ...]:
    """Return the start of a command line that compiles and links C: gcc, or the clang of the images."""
    gcc = shutil.which("gcc")
    return (gcc,) if gcc else tuple(dynamic_compiler(Builder(), AMD64))
