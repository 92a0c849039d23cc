"""The charts of a plan, drawn by Vega-Lite as SVG: a page needs no script and no network."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import msgspec

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.results_db.models import Run

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
# as in the report's style sheet; they differ in lightness too
_COLOURS = {
    "pass": "#3c9150", "unsupported": "#a8aeb6", "error": "#8e2a7d", "fail": "#b3261e",
    "not-run": "#d8dbe0",
}  # fmt: skip
_WIDTH, _HEIGHT = 640, 130
MOST_RUNS = 120  # of a chart: the newest


def results_chart(runs: Sequence[Run]) -> str:
    """Return an SVG of the number of cells by result, run by run. Raises UsageError."""
    rows = [
        {"run": _label(run), "result": result, "cells": run.counts.get(result, 0), "order": order}
        for run in runs[-MOST_RUNS:]
        for order, result in enumerate(_COLOURS)
    ]
    return _draw(
        rows,
        mark="bar",
        y={"field": "cells", "type": "quantitative", "title": "cells"},
        color={
            "field": "result",
            "type": "nominal",
            "title": None,
            "scale": {"domain": list(_COLOURS), "range": list(_COLOURS.values())},
        },
        order={"field": "order"},
    )


def seconds_chart(runs: Sequence[Run]) -> str:
    """Return an SVG of the duration of each run. Raises UsageError."""
    rows = [
        {"run": _label(run), "seconds": run.seconds}
        for run in runs[-MOST_RUNS:]
        if run.seconds is not None
    ]
    return _draw(
        rows,
        mark={"type": "line", "point": True},
        y={"field": "seconds", "type": "quantitative", "title": "seconds"},
    )


def _label(run: Run) -> str:
    return f"{datetime.datetime.fromtimestamp(run.started, datetime.UTC):%m-%d %H:%M:%S}"


def _draw(rows: Sequence[dict[str, Any]], **encoding: Any) -> str:
    try:
        import vl_convert
    except ImportError as error:
        raise UsageError(
            "charts need the package vl-convert-python", "pip install 'foothold-lab[site]'"
        ) from error
    mark = encoding.pop("mark")
    axis = {"title": None, "labelAngle": -40, "labelOverlap": True, "labelLimit": 0}
    specification = {
        "$schema": _SCHEMA,
        "width": _WIDTH,
        "height": _HEIGHT,
        "background": "white",
        "padding": {"left": 5, "top": 5, "bottom": 5, "right": 30},  # fonts of readers are wider
        "data": {"values": rows},
        "mark": mark,
        "encoding": {"x": {"field": "run", "type": "ordinal", "axis": axis}, **encoding},
    }
    svg: str = vl_convert.vegalite_to_svg(msgspec.json.encode(specification).decode())
    return svg
