"""Finds the smallest limit under which a subject starts.

* `bisection`  the search itself, over sizes
* `find`       one subject in one booted guest
* `batch`      several subjects in several guests at once
"""

from foothold_lab.harness.threshold.batch import Missing, ThresholdResults, find_thresholds
from foothold_lab.harness.threshold.bisection import Edge, Threshold
from foothold_lab.harness.threshold.find import KINDS, ThresholdQuery, find_threshold

__all__ = [
    "KINDS",
    "Edge",
    "Missing",
    "Threshold",
    "ThresholdQuery",
    "ThresholdResults",
    "find_threshold",
    "find_thresholds",
]
