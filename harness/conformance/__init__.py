"""Judges the probes of a kernel, and lists its known differences.

* `report`        what the program printed
* `differences`   the known differences of kernels, in differences.toml
* `run_reader` `markdown`   the page of all differences, from a run directory
* `judge`         which probes conform, differ as is known, or differ as is not
"""

from foothold_lab.harness.conformance.differences import (
    Kernel,
    KernelRange,
    KnownDifference,
    convert_table,
    kernel_of,
    known_differences,
)
from foothold_lab.harness.conformance.judge import (
    judge_kernel_faults,
    judge_killed_guest,
    judge_probes,
)
from foothold_lab.harness.conformance.report import ProbeAnswer, ProbeReport, read_report

__all__ = [
    "Kernel",
    "KernelRange",
    "KnownDifference",
    "ProbeAnswer",
    "ProbeReport",
    "convert_table",
    "judge_kernel_faults",
    "judge_killed_guest",
    "judge_probes",
    "kernel_of",
    "known_differences",
    "read_report",
]
