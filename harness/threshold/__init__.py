"""Finds the smallest limit under which a subject starts.

* `bisection`  the search itself, over sizes: for one edge, or a sweep over all
* `drawing`    the bands of a search, as text and as SVG
* `find`       one subject in one booted guest
* `batch`      several subjects in several guests at once
"""

from foothold_lab.harness.threshold.batch import (
    Missing,
    Search,
    Searchers,
    ThresholdResults,
    find_thresholds,
    search_group,
)
from foothold_lab.harness.threshold.bisection import PER_DOUBLING, Band, Edge, Threshold
from foothold_lab.harness.threshold.drawing import draw_svg, draw_text
from foothold_lab.harness.threshold.find import KINDS, ThresholdQuery, find_threshold

__all__ = [
    "KINDS",
    "PER_DOUBLING",
    "Band",
    "Edge",
    "Missing",
    "Search",
    "Searchers",
    "Threshold",
    "ThresholdQuery",
    "ThresholdResults",
    "draw_svg",
    "draw_text",
    "find_threshold",
    "find_thresholds",
    "search_group",
]
