"""Witnesses: independent accounts of what happened, joined into one observation, and judged."""

from foothold_lab.harness.evidence.judge import judge
from foothold_lab.harness.evidence.observe import observe
from foothold_lab.harness.evidence.program import observe_program

__all__ = ["judge", "observe", "observe_program"]
