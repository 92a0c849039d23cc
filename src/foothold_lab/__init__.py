"""Foothold: a laboratory of Linux address spaces.

`__all__` names the Python interface; docs/api.md describes it. Everything else is internal and
changes without notice. The names are imported on first use, so that `import foothold_lab` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foothold_lab.harness.api.guest import OpenGuest, open_guest
    from foothold_lab.harness.api.plan import Plan
    from foothold_lab.harness.api.running import RunResult, run
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.model.errors import FootholdError
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.harness.model.limits import Limits
    from foothold_lab.harness.model.verdict import Verdict
    from foothold_lab.images.builder import Builder

__all__ = [
    "Builder",
    "Cell",
    "Facts",
    "FootholdError",
    "Limits",
    "OpenGuest",
    "Plan",
    "RunResult",
    "Verdict",
    "open_guest",
    "run",
]

_MODULES = {
    "Builder": "images.builder",
    "Cell": "harness.model.cells",
    "Facts": "harness.model.facts",
    "FootholdError": "harness.model.errors",
    "Limits": "harness.model.limits",
    "OpenGuest": "harness.api.guest",
    "Plan": "harness.api.plan",
    "RunResult": "harness.api.running",
    "Verdict": "harness.model.verdict",
    "open_guest": "harness.api.guest",
    "run": "harness.api.running",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
