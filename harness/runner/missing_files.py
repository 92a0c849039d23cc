"""Finds out whether a program died in a guest because the guest lacks a file of this machine.

The program is run once more, under a trace of the system calls that name files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.base import Guest, run_program
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.subjects.subject import Subject

SECONDS = 10.0  # of the run that looks for them, on a guest of native speed
MOST_NAMED = 3

_CALL = re.compile(
    r'^\d+ +(\w+)\([^"]*"((?:[^"\\]|\\.)*)".*\) *= (-?\d+)(?: (E\w+))?', re.MULTILINE
)
# other file systems in every guest, and files that the C library can do without
_OPTIONAL = (
    "/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/etc/ld.so.preload", "/etc/localtime",
    "/usr/lib/locale", "/usr/share/locale",
)  # fmt: skip


def missing_files(guest: Guest, cell: Cell, subject: Subject) -> tuple[str, ...]:
    """Return paths of this machine that a program looked for in vain in a guest, the last one first.

    Returns nothing for a guest with the files of this machine, for a packaged runtime, and if the
    program cannot be traced.
    """
    if guest.capabilities.host_paths or subject.reports or subject.image or subject.root == "host":
        return ()
    argv = subjects.command(subject, cell, guest.paths, trace=True)
    how = subjects.supervision(subject, guest.paths, guest.scale, trace=True)
    how = replace(how, trace_files=True, exit_maps=False, timeout=SECONDS * guest.scale)
    deadline = Deadline.after(2 * SECONDS * guest.scale)
    try:
        record = run_program(guest, argv, cell.limits.without_faults, deadline, how=how)
    except FootholdError:  # the verdict is known: it has no better explanation
        return ()
    trace = (record.trace or b"").decode(errors="replace")
    return tuple(find_missing(trace, lambda path: Path(path).exists()))[:MOST_NAMED]


def find_missing(trace: str, exists: Callable[[str], bool]) -> Iterable[str]:
    """Yield absolute paths of a trace that were not found and that `exists` knows, the last first.

    A file that was found later under another directory was only searched for, and is left out.
    """
    calls = [(match[2], match[4]) for match in _CALL.finditer(trace)]
    found = {PurePosixPath(path).name for path, error in calls if not error}
    wanted = dict.fromkeys(path for path, error in reversed(calls) if error == "ENOENT")
    for path in wanted:
        optional = any(PurePosixPath(path).is_relative_to(each) for each in _OPTIONAL)
        searched = optional or PurePosixPath(path).name in found
        if path.startswith("/") and not searched and exists(path):
            yield path


def add_missing(verdict: Verdict, paths: Sequence[str]) -> Verdict:
    """Return the verdict with a finding on these paths, and the remedy; unchanged without paths."""
    if not paths:
        return verdict
    options = " ".join(f"--file {shlex.quote(path)}" for path in paths)
    finding = Finding(
        Code.SUBJECT_MISSING_FILE,
        f"The guest lacks {', '.join(paths)}, which the subject looked for and this machine has.",
    )
    return replace(
        verdict,
        findings=(*verdict.findings, finding),
        remedy=verdict.remedy or f"add {options}, or use --root host",
    )
