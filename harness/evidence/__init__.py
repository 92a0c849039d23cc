"""Reads what the witnesses saw and judges it against prediction and plan."""

from foothold_lab.harness.evidence.judge import judge, judge_panic
from foothold_lab.harness.evidence.observe import observe
from foothold_lab.harness.evidence.output_difference import output_difference
from foothold_lab.harness.evidence.program import observe_program

__all__ = ["judge", "judge_panic", "observe", "observe_program", "output_difference"]
