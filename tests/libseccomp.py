"""Skips tests of seccomp profiles where the library that compiles them is not installed."""

from __future__ import annotations

import ctypes

import pytest


def _is_installed() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


needs_libseccomp = pytest.mark.skipif(not _is_installed(), reason="no libseccomp here")
