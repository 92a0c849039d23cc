"""Plans: TOML files that say which cells there are, and what each must come to.

A plan is axes (guests, limits, subjects, the allocator's policies and workloads) whose product is
the cells, less what an `[[exclude]]` matches, plus the product of each `[[include]]`. The first
`[[expect]]` that matches a cell is what the plan declares of it. Every mistake is a UsageError that
names the file, the line, the key, and what would have been right.

* `words`    which guests, policies and subjects there are, and the nearest one to a wrong word
* `values`   a plan that has been read: axes, patterns, programs; how it becomes cells
* `reader`   from a file to such a plan
* `shipped`  the plans that come with Foothold

It knows values alone, and boots and builds nothing.
"""

from harness.plan.reader import load
from harness.plan.shipped import DEFAULT, SHIPPED, find, shipped
from harness.plan.values import Axes, Pattern, PlanFile, Program
from harness.plan.words import Known

__all__ = [
    "DEFAULT", "SHIPPED", "Axes", "Known", "Pattern", "PlanFile", "Program", "find", "load",
    "shipped",
]  # fmt: skip
