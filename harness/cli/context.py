"""What several commands do alike: find a plan, a builder, a place for what is kept."""

from __future__ import annotations

import datetime
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.model.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import OwnKernels
    from foothold_lab.harness.plan import Known, PlanFile
    from foothold_lab.harness.subjects.subject import Subject
    from foothold_lab.images.builder import Builder

OK, FINDING, USAGE, FAILED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


def say(what: str, /, *, passing: bool = False) -> None:
    """Say on stderr what takes time; what is passing only to a person, on one line."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    if clear or not passing:
        click.echo(f"{clear}{what}", err=True, nl=not passing)


def builder(*, locked: bool = False) -> Builder:
    """Make a builder that says on stderr what takes time."""
    from foothold_lab.images.builder import Builder

    return Builder(locked=locked, say=say)


def known(builder: Builder, own: OwnKernels | None = None) -> Known:
    """Return the words that a plan may use here."""
    from foothold_lab.harness.evidence.arena_detection import POLICIES
    from foothold_lab.harness.guests.catalogue import NO_OWN, known_guests
    from foothold_lab.harness.plan import Known
    from foothold_lab.harness.subjects.packaged import RUNTIMES

    titles = {name: runtime.title for name, runtime in RUNTIMES.items()}
    return Known(known_guests(builder, own or NO_OWN), POLICIES, titles)


def packaged(builder: Builder) -> Mapping[str, Callable[[], Subject]]:
    """Return the catalogue of packaged subjects: what makes each of them, by name."""
    from foothold_lab.harness.subjects import packaged

    return packaged.packaged(builder)


def read_plan(name: str, builder: Builder, own: OwnKernels | None = None) -> PlanFile:
    """Find and read a plan. Raises UsageError."""
    from foothold_lab.harness.plan import find, load

    path = find(name)
    return load(path, known(builder, own))


def state() -> Path:
    """Return the directory of what is kept from run to run."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local/state").absolute() / "foothold"


def run_directory(chosen: Path | None) -> Path:
    """Make the run's directory, which no other run has."""
    directory = (chosen or state() / "runs" / name_of_now()).absolute()
    if (directory / "run.json").exists():
        raise UsageError(f"{directory} holds a run already", "give --run-dir a new directory")
    try:
        directory.mkdir(parents=True, exist_ok=chosen is not None)
    except OSError as error:
        raise InfrastructureError(
            f"{directory} cannot be made: {error.strerror}", "give --run-dir another directory"
        ) from error
    return directory


def history_file(chosen: Path | None) -> Path:
    """Return where the history is: as chosen, as FOOTHOLD_HISTORY says, or beside the runs."""
    named = os.environ.get("FOOTHOLD_HISTORY")
    return (chosen or (Path(named) if named else state() / "history.db")).absolute()


def name_of_now() -> str:
    """Make a name from the time, that no other process makes."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def stop_as_by_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does: guests stopped, files whole."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
