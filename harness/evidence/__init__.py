"""Reads what the witnesses saw and judges it against prediction and plan."""

from foothold_lab.harness.evidence.judge import judge
from foothold_lab.harness.evidence.observe import observe
from foothold_lab.harness.evidence.program import observe_program

__all__ = ["judge", "observe", "observe_program"]
