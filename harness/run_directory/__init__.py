"""Reads a run directory, which may come from elsewhere: its files and its events."""

from foothold_lab.harness.run_directory.documents import DAMAGED, SURVEY_FILE, decode
from foothold_lab.harness.run_directory.event_log import SCHEMA, check_name, read_events, read_head
from foothold_lab.harness.run_directory.files import (
    RunFiles,
    TreeBudget,
    UnsafeFileError,
    write_private,
)

__all__ = [
    "DAMAGED", "SCHEMA", "SURVEY_FILE", "RunFiles", "TreeBudget", "UnsafeFileError",
    "check_name", "decode", "read_events", "read_head", "write_private",
]  # fmt: skip
