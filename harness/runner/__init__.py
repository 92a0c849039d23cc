"""Runs cells: schedules guests, boots them, runs subjects, retries, blames.

* `run`           all cells of a run: from the plan's cells to the summary
* `guest_cells`   the cells of one guest, with retries
* `cell_run`      one cell: execute, observe, judge, blame
* `execution`     one subject, started once in a booted guest
* `booted_guest`  one guest: boot, deploy, stop
* `guest_pool`    worker threads that boot guests, as many as the machine has room for
* `schedule` `host_memory` `retries` `retention` `options`   what these are built of
"""

from foothold_lab.harness.runner.booted_guest import BootedGuest, open_guest
from foothold_lab.harness.runner.cell_run import run_added_cell, run_cell
from foothold_lab.harness.runner.options import PROGRAM_MEMORY, RunOptions
from foothold_lab.harness.runner.run import RunSummary, run_cells

__all__ = [
    "PROGRAM_MEMORY",
    "BootedGuest",
    "RunOptions",
    "RunSummary",
    "open_guest",
    "run_added_cell",
    "run_cell",
    "run_cells",
]
