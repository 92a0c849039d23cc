"""Reads a plan and turns it into cells.

A plan lists axes (guests, limits, subjects, and the allocator's policies and workloads). Their
product is the cells, without those that an `[[exclude]]` matches, plus the product of each
`[[include]]`. The first `[[expect]]` that matches a cell says what the plan expects of it. Every
mistake raises a UsageError that names file, line and key, and says what would be right.

* `vocabulary`   the names that a plan may use: guests, policies, subjects
* `value_types`  the types of values, and how each is parsed
* `schema`       the one table of settings: where each may stand, its type, its option
* `toml_source`  the text of a file, and the line of everything in it
* `model`        axes, patterns, programs, settings of cells
* `planfile`     a whole plan, and how it becomes cells
* `validate`     checks of a plan as a whole
* `reader`       turns a file into a plan
* `shards`       divides the cells of a plan between machines
* `builtin`      the plans that come with Foothold
* `reference`    the documentation of the file format

This room boots and builds nothing.
"""

from foothold_lab.harness.plan.builtin import (
    BUILTIN_DIRECTORY,
    DEFAULT,
    builtin_plans,
    find_plan,
)
from foothold_lab.harness.plan.model import Axes, CellSettings, Pattern, Program
from foothold_lab.harness.plan.planfile import PlanFile, Selection
from foothold_lab.harness.plan.reader import load_plan
from foothold_lab.harness.plan.shards import Shard
from foothold_lab.harness.plan.vocabulary import Vocabulary

__all__ = [
    "BUILTIN_DIRECTORY",
    "DEFAULT",
    "Axes",
    "CellSettings",
    "Pattern",
    "PlanFile",
    "Program",
    "Selection",
    "Shard",
    "Vocabulary",
    "builtin_plans",
    "find_plan",
    "load_plan",
]
