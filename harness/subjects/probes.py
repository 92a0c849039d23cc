"""Packaged subjects that ask a kernel whether it does what its ABI demands.

The program is in images/conformance. One subject runs the probes of a group. A probe that may end or
hang its guest is a subject of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from foothold_lab.harness.model.probes import SUBJECTS
from foothold_lab.harness.subjects.packaged_program import IMAGE, PackagedProgram
from foothold_lab.images.probes import IMAGE as PROBES_IMAGE
from foothold_lab.images.probes import PORTS, PROGRAM

GROUPS = (
    "mmap", "signal", "registers", "trap", "process", "memory", "time", "ptrace", "seccomp",
)  # fmt: skip
# each with its timeout, in seconds: one that hangs its guest must not hold up the run for long
LONE_PROBES: Mapping[str, float] = {"memory/io-uring-over-fork": 3.0, "mmap/scattered-pages": 20.0}
_TIMEOUT = 120.0  # seconds: the program ends a probe that hangs, after 30


def subject_of_probe(probe: str) -> str:
    """Return the name of the subject that runs a probe (`GROUP/QUESTION`) on this machine."""
    return (
        f"{SUBJECTS}{probe.replace('/', '.') if probe in LONE_PROBES else probe.partition('/')[0]}"
    )


def _here() -> Iterator[tuple[str, PackagedProgram]]:
    for name in (*GROUPS, *LONE_PROBES):
        yield (
            f"{SUBJECTS}{name.replace('/', '.')}",
            PackagedProgram(
                title=f"Probes of {name}" if name in GROUPS else f"The probe {name}",
                image=PROBES_IMAGE,
                argv=(f"{IMAGE}/{PROGRAM}", name),
                package="1",
                timeout=LONE_PROBES.get(name, _TIMEOUT),
            ),
        )


PROBES: Mapping[str, PackagedProgram] = {
    port.image(name): replace(program, port=port) for port in PORTS for name, program in _here()
}
