"""Witnesses: independent accounts of what happened, joined into one observation, and judged."""

from harness.witnesses.judge import judge
from harness.witnesses.observe import observe
from harness.witnesses.program import observe_program

__all__ = ["judge", "observe", "observe_program"]
