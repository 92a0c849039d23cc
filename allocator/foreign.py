"""Calls of the C library, by the C half of ctypes alone.

`ctypes` itself defines every type that C has: under emulation that is a fifth of a cell's time, and
the kernel needs four. What stands here is what `ctypes/__init__.py` does for these.
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
    """`size_t`, `unsigned long`, and an address: half of those of 32 bits would be negative."""

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


_PROGRAM = dlopen(None, 0)  # type: ignore[arg-type]  # as dlopen(3) has it: this program


def function(name: str, *arguments: "type[_SimpleCData[Any]]", result: "type" = Int) -> "Function":
    """A function of the C library; its errno is what `get_errno` answers. Raises OSError."""
    found = _Function(dlsym(_PROGRAM, name))
    found.argtypes = arguments
    found.restype = result
    return found
