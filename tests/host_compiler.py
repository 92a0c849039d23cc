"""C compilers: for programs of this machine, also where none is installed, and for other machines."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest

from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, Port


def dynamic_compiler(builder: Builder, port: Port) -> list[str | Path]:
    """Return the start of a command line that links C programs with the libraries of a port's root."""
    libraries = builder.image(port.image("root")) / "lib" / port.libraries
    return [*compiler.command(builder.image, port), "-static-libgcc", f"-L{libraries}"]


def host_compiler(*, static: bool = False) -> tuple[str | Path, ...]:
    """Return the start of a command line that compiles and links C: gcc, or the clang of the images.

    Skips the test if a program that is not `static` would not start on this machine.
    """
    if not (found := _host_compiler())[1:] or static:
        return found
    need_glibc()
    return found


def need_glibc() -> None:
    """Skip the test on a machine without glibc, where programs of the images do not start."""
    if not Path(AMD64.loader).exists():
        pytest.skip("this machine has no glibc, for which the compiler of the images compiles")


@functools.cache
def _host_compiler() -> tuple[str | Path, ...]:
    gcc = shutil.which("gcc")
    return (gcc,) if gcc else tuple(dynamic_compiler(Builder(), AMD64))
