"""Witnesses: independent accounts of what happened, joined into one observation, and judged."""

from foothold_lab.harness.witnesses.judge import judge
from foothold_lab.harness.witnesses.observe import observe
from foothold_lab.harness.witnesses.program import observe_program

__all__ = ["judge", "observe", "observe_program"]
