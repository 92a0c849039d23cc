"""A neighbour on the same machine: busy processors, little free memory, a busy disk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

FREE = 3 << 30  # bytes that the neighbour leaves free: guests of two jobs need about 1 GiB

_BUSY = "while True: pass"
# holds memory until only FREE bytes are available; touches it again, so that it stays resident
_MEMORY = """
import mmap, re, sys, time
held = []
while True:
    text = open("/proc/meminfo").read()
    available = int(re.search(r"MemAvailable: *(\\d+)", text)[1]) << 10
    if available > int(sys.argv[1]) + (64 << 20):
        block = mmap.mmap(-1, 64 << 20)
        block.write(b"x" * (64 << 20))
        held.append(block)
    elif available < int(sys.argv[1]) and held:
        held.pop().close()
    else:
        time.sleep(0.2)
"""
_DISK = """
import os, sys
block = os.urandom(1 << 20)
with open(sys.argv[1], "wb") as file:
    while True:
        file.seek(0)
        for _ in range(64):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
"""


@contextlib.contextmanager
def neighbour() -> Iterator[list[int]]:
    """Load this machine: one busy process a processor, memory, and a disk that is written to.

    The value is the process ids.
    """
    with tempfile.TemporaryDirectory(prefix="foothold-neighbour-") as folder:
        programs = [[_BUSY] for _ in os.sched_getaffinity(0)]
        programs += [[_MEMORY, str(FREE)], [_DISK, str(Path(folder) / "file")]]
        running = [subprocess.Popen([sys.executable, "-c", *words]) for words in programs]
        try:
            yield [each.pid for each in running]
        finally:
            for each in running:
                each.kill()
                each.wait()
