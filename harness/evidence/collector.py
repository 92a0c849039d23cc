"""Pauses Python's cyclic garbage collector while a trace is judged.

Judging makes millions of values and no cycles. With the collector it takes up to twice as long,
because the collector looks at all of them again and again.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_guard = threading.Lock()
_pauses = 0


@contextlib.contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the collector. It goes on when no thread pauses it any more."""
    global _pauses
    with _guard:
        enabled = gc.isenabled() or _pauses > 0
        _pauses += 1
        gc.disable()
    try:
        yield
    finally:
        with _guard:
            _pauses -= 1
            if enabled and not _pauses:
                gc.enable()
