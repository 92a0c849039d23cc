"""The oracle: from what was measured of an address space to what must happen there. Pure.

It knows Go's reservation logic from the commits alone and shares no code with the subject, so that
the two can contradict each other. It never sees a guest's name. Where what it knows does not
decide, it says so, by an UnsupportedError with the reason.

* `space`     facts and limits, joined: what the kernel gives, refuses, and has room for
* `policies`  what each generation of the reservation logic asks for, and makes of the answers
"""

from harness.oracle.policies import (
    CANNOT_RESERVE,
    CONFLICT,
    HEAP,
    HIGH,
    HIGH_ARENA,
    OUT_OF_MEMORY,
    POLICIES,
    PROBE,
    predict,
)
from harness.oracle.space import ALLOCATOR, FOOTPRINT, Process, Space

__all__ = [
    "ALLOCATOR", "CANNOT_RESERVE", "CONFLICT", "FOOTPRINT", "HEAP", "HIGH", "HIGH_ARENA",
    "OUT_OF_MEMORY", "POLICIES", "PROBE", "Process", "Space", "predict",
]  # fmt: skip
