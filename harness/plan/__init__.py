"""Reads a plan and turns it into cells.

A plan is axes (guests, limits, subjects, the allocator's policies and workloads) whose product is
the cells, less what an `[[exclude]]` matches, plus the product of each `[[include]]`. The first
`[[expect]]` that matches a cell is what the plan declares of it. Every mistake is a UsageError that
names the file, the line, the key, and what would have been right.

* `words`      which guests, policies and subjects there are, and the nearest one to a wrong word
* `kinds`      kinds of values, and how each is read
* `settings`   the one table of what can be set, where, of which kind, with which option
* `source`     the text of a file, and where in it something stands
* `values`     axes, patterns, programs, ways: what a plan is made of
* `shards`     parts of a plan, for several machines
* `planfile`   a plan as a whole, and how it becomes cells
* `checks`     whether it makes sense as a whole
* `reader`     from a file to a plan
* `reference`  the documentation of the format
* `shipped`    the plans that come with Foothold

It knows values alone, and boots and builds nothing.
"""

from foothold_lab.harness.plan.builtin import DEFAULT, SHIPPED, find, shipped
from foothold_lab.harness.plan.model import Axes, CellSettings, Pattern, Program
from foothold_lab.harness.plan.planfile import PlanFile, Selection
from foothold_lab.harness.plan.reader import load
from foothold_lab.harness.plan.shards import Shard
from foothold_lab.harness.plan.vocabulary import Known

__all__ = [
    "DEFAULT",
    "SHIPPED",
    "Axes",
    "CellSettings",
    "Known",
    "Pattern",
    "PlanFile",
    "Program",
    "Selection",
    "Shard",
    "find",
    "load",
    "shipped",
]  # fmt: skip
