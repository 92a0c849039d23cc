"""Calls of the C library through `_ctypes`, the C half of ctypes.

Importing `ctypes` defines every type of C, which takes a fifth of a cell's time under emulation.
The kernel needs five types. This module defines them as `ctypes/__init__.py` does.
"""

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
    sizeof,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Function = Callable[..., int]

__all__ = [
    "Char",
    "Int",
    "Size",
    "UInt32",
    "UInt64",
    "addressof",
    "function",
    "get_errno",
    "sizeof",
]


class Char(_SimpleCData):  # type: ignore[type-arg]
    """`char`."""

    _type_ = "c"


class Int(_SimpleCData):  # type: ignore[type-arg]
    """`int`."""

    _type_ = "i"


class Size(_SimpleCData):  # type: ignore[type-arg]
    """`size_t`, `unsigned long`, and an address (unsigned, also with 32 bits)."""

    _type_ = "L"


class UInt32(_SimpleCData):  # type: ignore[type-arg]
    """`uint32_t`."""

    _type_ = "I"


class UInt64(_SimpleCData):  # type: ignore[type-arg]
    """`uint64_t`."""

    _type_ = "Q"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Int


_PROGRAM = dlopen(None, 0)  # type: ignore[arg-type]  # NULL: the running program, see dlopen(3)


def function(name: str, *arguments: "type[_SimpleCData[Any]]", result: "type" = Int) -> "Function":
    """Return a function of the C library. `get_errno` returns its errno. Raises OSError."""
    found = _Function(dlsym(_PROGRAM, name))
    found.argtypes = arguments
    found.restype = result
    return found
