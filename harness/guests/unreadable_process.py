"""Hides this process from programs of its user while such programs run as subjects.

A process of the same user may read and write the memory of this one, and open its descriptors, unless
it is not dumpable: PR_SET_DUMPABLE of prctl(2), ptrace(2), proc(5). A program with CAP_SYS_PTRACE,
such as one of root, can still do so.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4  # include/uapi/linux/prctl.h
_NOT_DUMPABLE, _DUMPABLE = 0, 1


class _Users:
    """Counts the subjects that run now. The first one hides this process, the last one ends that."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._count = 0
        self._before = _DUMPABLE

    def add(self) -> None:
        with self._guard:
            self._count += 1
            if self._count == 1:
                self._before = _prctl(_PR_GET_DUMPABLE)
                _prctl(_PR_SET_DUMPABLE, _NOT_DUMPABLE)

    def remove(self) -> None:
        with self._guard:
            self._count -= 1
            if not self._count and self._before == _DUMPABLE:
                _prctl(_PR_SET_DUMPABLE, _DUMPABLE)


_USERS = _Users()


@contextlib.contextmanager
def unreadable_process() -> Iterator[None]:
    """Hide this process as long as the context lasts. Contexts of several threads may overlap.

    Meanwhile the files of /proc/self belong to root, so that this process cannot write some of them;
    its children that execute a program are not concerned. The kernel writes no core dump of it.
    """
    _USERS.add()
    try:
        yield
    finally:
        _USERS.remove()


def _prctl(option: int, argument: int = 0) -> int:
    return int(_libc().prctl(option, argument, 0, 0, 0))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)  # each takes 0.05 ms
