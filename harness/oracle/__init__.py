"""Predicts the verdict of a cell from the measured facts of its guest.

It knows Go's reservation logic from the commits alone and shares no code with the subject, so that
the two can contradict each other. It never sees a guest's name. Where what it knows does not
decide, it says so, by an UnsupportedError with the reason.

* `forms`     what the subject comes to by the size of its pointers
* `space`     facts and limits, joined: what the kernel gives, refuses, and has room for
* `policies`  what each generation of the reservation logic asks for, and makes of the answers
"""

from foothold_lab.harness.oracle.forms import FORMS, Process
from foothold_lab.harness.oracle.policies import (
    CANNOT_RESERVE,
    CONFLICT,
    HIGH,
    HIGH_ARENA,
    NARROW,
    OUT_OF_MEMORY,
    POLICIES,
    PROBE,
    predict,
    unknown,
)
from foothold_lab.harness.oracle.space import Space

__all__ = [
    "CANNOT_RESERVE", "CONFLICT", "FORMS", "HIGH", "HIGH_ARENA", "NARROW", "OUT_OF_MEMORY",
    "POLICIES", "PROBE", "Process", "Space", "predict", "unknown",
]  # fmt: skip
