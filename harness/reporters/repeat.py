"""The command that repeats a cell, as it works for the person who reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from foothold_lab.harness.model.escape import escape_shell

PROGRAM = "FOOTHOLD_PROGRAM"  # set by the launcher of a checkout: its own path


def repeat_command(command: Sequence[str]) -> str:
    """Return a command line for a shell, whole and quoted.

    From a checkout the program is the path of its launcher, else `foothold`.
    """
    program, *words = command
    here = os.environ.get(PROGRAM, "") if program == "foothold" else ""
    return escape_shell((here or program, *words))
