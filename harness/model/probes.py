"""How the evidence of a cell names the probes that differ: the history compares them by name."""

from __future__ import annotations

from collections.abc import Mapping

SUBJECTS = "conformance-"  # before the names of the packaged subjects that run probes
COUNTS = "probes"  # the line that says how many probes were asked
_PROBE = "probe "  # before the name of a probe that differs


def evidence_of(probe: str) -> str:
    """Name the line of evidence about a probe that differs."""
    return f"{_PROBE}{probe}"


def differing_probes(evidence: Mapping[str, str]) -> Mapping[str, str]:
    """Return the probes that differ according to the evidence of a cell, and what they measured."""
    return {
        name.removeprefix(_PROBE): text
        for name, text in evidence.items()
        if name.startswith(_PROBE)
    }
