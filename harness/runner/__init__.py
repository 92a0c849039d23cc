"""Runs cells: schedules guests, boots them, runs subjects, retries, blames.

* `run`           all cells of a run: from the plan's cells to the summary
* `guest_cells`   the cells of one guest, with retries
* `cell_run`      one cell: execute, observe, judge, blame
* `execution`     one subject, started once in a booted guest
* `booted_guest`  one guest: boot, deploy, stop
* `measure`       guests that are booted only to be measured
* `guest_pool`    worker threads that boot guests, as many as the machine has room for
* `kept_guests`   guests that stay booted from one run to the next
* `console_log`   what the kernel of a guest prints while something runs in it
* `schedule` `host_memory` `retries` `retention` `options`   what these are built of
"""

from foothold_lab.harness.runner.booted_guest import BootedGuest, open_guest
from foothold_lab.harness.runner.cell_run import run_added_cell, run_cell
from foothold_lab.harness.runner.console_log import ConsoleLog
from foothold_lab.harness.runner.measure import Measured, Measurers, measure_guests
from foothold_lab.harness.runner.options import PROGRAM_MEMORY, RunOptions
from foothold_lab.harness.runner.run import (
    LocalWorkforce,
    RunSummary,
    Workforce,
    estimate,
    group_cells,
    run_cells,
)

__all__ = [
    "PROGRAM_MEMORY",
    "BootedGuest",
    "ConsoleLog",
    "LocalWorkforce",
    "Measured",
    "Measurers",
    "RunOptions",
    "RunSummary",
    "Workforce",
    "estimate",
    "group_cells",
    "measure_guests",
    "open_guest",
    "run_added_cell",
    "run_cell",
    "run_cells",
]
