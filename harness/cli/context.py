"""What several commands share: exit codes, builders, plans, and the places of files."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.model.errors import InfrastructureError, UsageError
from foothold_lab.harness.model.findings import Code

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import CustomKernels
    from foothold_lab.harness.plan import PlanFile, Vocabulary
    from foothold_lab.harness.subjects.subject import Subject
    from foothold_lab.images.builder import Builder
    from foothold_lab.images.progress import Progress
    from foothold_lab.images.recipes import Recipe

# docs/exit-codes.md
OK, FINDING, USAGE, FAILED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


def code_of_results(counts: Mapping[str, int], cells: int) -> int:
    """Return the exit code for the number of cells by result, out of `cells` cells."""
    if counts.get("fail"):
        return FINDING
    if counts.get("error") or sum(counts.values()) < cells:
        return FAILED
    return OK if was_tried(counts) else FAILED


def was_tried(counts: Mapping[str, int]) -> bool:
    """Was at least one cell run?"""
    return any(counts.get(result) for result in ("pass", "fail", "error"))


def report_progress(text: str, /, *, transient: bool = False) -> None:
    """Write progress to stderr. A `transient` line is shown on a terminal only, and overwritten."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    if clear or not transient:
        click.echo(clear, err=True, nl=False)
        print_text(text, err=True, newline=not transient)


def report_error(message: str, remedy: str = "") -> None:
    """Write an error and its remedy to stderr, in the form that all commands share."""
    with contextlib.suppress(OSError):  # nothing reads stderr
        print_text(f"foothold: {message}", err=True)
        if remedy:
            print_text(f"  remedy: {remedy}", err=True)


def make_builder(
    *,
    locked: bool = False,
    progress: Progress = report_progress,
    recipes: Mapping[str, Recipe] | None = None,
) -> Builder:
    """Return a builder of images that reports its progress on stderr, or to `progress`.

    When the command ends, the packages from which images were built are removed.
    """
    from foothold_lab.images.builder import Builder
    from foothold_lab.images.catalogue import RECIPES

    builder = Builder(locked=locked, progress=progress, recipes=recipes or RECIPES)
    click.get_current_context().call_on_close(builder.discard_downloads)
    return builder


def make_vocabulary(builder: Builder, kernels: CustomKernels | None = None) -> Vocabulary:
    """Return the names that a plan may use on this machine."""
    from foothold_lab.harness.api.vocabulary import vocabulary
    from foothold_lab.harness.guests.catalogue import NO_CUSTOM_KERNELS

    return vocabulary(builder, kernels or NO_CUSTOM_KERNELS)


def packaged_subjects(builder: Builder) -> Mapping[str, Callable[[], Subject]]:
    """Return a function for each packaged subject, by name, that builds it."""
    from foothold_lab.harness.subjects import packaged

    return packaged.packaged(builder)


def read_plan(name: str, builder: Builder, kernels: CustomKernels | None = None) -> PlanFile:
    """Find and read a plan. Raises UsageError."""
    from foothold_lab.harness.plan import find_plan, load_plan

    path = find_plan(name)
    return load_plan(path, make_vocabulary(builder, kernels))


def state_directory() -> Path:
    """Return the directory for everything that outlives a command. Raises UsageError."""
    if home := os.environ.get("XDG_STATE_HOME"):
        return Path(home).absolute() / "foothold"
    try:
        return Path.home().absolute() / ".local/state/foothold"
    except RuntimeError as error:
        raise UsageError(
            "this user has no home directory, where runs would be kept",
            "set HOME, or XDG_STATE_HOME, to a directory",
        ) from error


def runs_directory() -> Path:
    """Return the directory in which each run gets its own: FOOTHOLD_RUNS, or one among the state."""
    chosen = os.environ.get("FOOTHOLD_RUNS")
    return Path(chosen).absolute() if chosen else state_directory() / "runs"


def make_run_directory(chosen: Path | None) -> Path:
    """Create the directory of a run: the chosen one, or a new one among all runs.

    Raises UsageError if it holds a run already, InfrastructureError if it cannot be created.
    """
    directory = (chosen or runs_directory() / unique_name()).absolute()
    remedy = "give --run-dir another directory, or set FOOTHOLD_RUNS to one for all runs"
    _create(directory, remedy, exist_ok=chosen is not None)
    if (directory / "run.json").exists():
        raise UsageError(f"{directory} already holds a run", "give --run-dir a new directory")
    return directory


def make_repro_directory() -> Path:
    """Create the directory of a repeated cell. Raises InfrastructureError."""
    directory = runs_directory() / "repros" / unique_name()
    return _create(directory, "set FOOTHOLD_RUNS to a directory for runs")


def _create(directory: Path, remedy: str, *, exist_ok: bool = False) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        raise InfrastructureError(
            f"cannot create {directory}: {error.strerror}", remedy, code=Code.INFRASTRUCTURE_OUTPUT
        ) from error
    return directory


def history_file(chosen: Path | None) -> Path:
    """Return the history database: the chosen one, FOOTHOLD_HISTORY, or the one beside the runs."""
    named = os.environ.get("FOOTHOLD_HISTORY")
    default = Path(named) if named else state_directory() / "history.db"
    return (chosen or default).absolute()


def unique_name() -> str:
    """Return a name made of the time (UTC) and four random hexadecimal digits."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def handle_termination() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C: stop guests, write files to their end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def ignore_termination() -> None:
    """Ignore Ctrl-C, SIGTERM and SIGHUP from now on: the exit code is known.

    CPython sets the default action back when it ends, and the signal would replace the exit code.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
