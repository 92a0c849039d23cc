"""A shell, or one command, in a guest that is booted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foothold_lab.harness.guests.base import HERE, Guest
from foothold_lab.harness.guests.limit_support import support_for
from foothold_lab.harness.interactive.terminal import Streams, converse
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import Supervision, Window
from foothold_lab.harness.subjects.subject import is_covered
from foothold_lab.harness.transport.conversation import Conversation

START_SECONDS = 60.0  # for a program to be started, on a busy machine
_ON_HOST = ("native", "qemu-user")  # guests in which the host's files are where they are
_OURS = ("TERM", "COLORTERM")  # what a program has to know of the terminal that it writes to


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to have in a guest: a program (none: a shell) under limits, on a terminal
    or not, started in a directory of the guest's (empty: where one would look first).
    """

    argv: tuple[str, ...] = ()
    limits: str = "none"
    terminal: Window | None = None
    directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def by(cls, streams: Streams, argv: Sequence[str], limits: Limits) -> Wanted:
        """Return what is wanted by somebody who sits at these streams."""
        known = {name: os.environ[name] for name in _OURS if name in os.environ}
        return cls(tuple(argv), str(limits), streams.window, environment=known)


def prepare(
    guest: Guest, facts: Facts, wanted: Wanted
) -> tuple[tuple[str, ...], Limits, Supervision]:
    """Say what is to be started in a guest, under which limits, and how.

    Raises UnsupportedError if the guest cannot do the limits, UsageError if it has no shell.
    """
    limits = Limits.parse(wanted.limits)
    if not (support := support_for(guest, facts, limits)).ok:
        raise UnsupportedError(support.reason, support.remedy)
    how = Supervision(
        environment=wanted.environment,
        directory=wanted.directory,
        root=guest.root,
        terminal=wanted.terminal,
    )
    if guest.tracer == "emulator" and not wanted.argv:
        raise UsageError(
            f"{guest.name} has no shell: what it started would not be emulated",
            f"name a program for that machine: foothold shell {guest.name} -- PROGRAM",
        )
    if guest.root or guest.name.startswith(_ON_HOST):
        return wanted.argv or (os.environ.get("SHELL", "/bin/sh"),), limits, how
    ours = {"HOME": "/root", "USER": "root", "PS1": f"{guest.name}:\\w\\$ "}
    environment = {**ours, **wanted.environment}
    how = replace(how, directory=wanted.directory or "/root", environment=environment)
    return wanted.argv or ("/bin/sh",), limits, how


def at_hand(guest: str, root: str, share: Path | None) -> Path | None:
    """Say which directory of the host a guest should have on HERE: none, if it has them all.

    Raises UsageError.
    """
    if root == "host" and share:
        raise UsageError(
            "with --root host every directory is there already", "leave --share, or --root"
        )
    directory = (share or Path.cwd()).absolute()
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", "--share one that is there")
    return None if guest.startswith(_ON_HOST) or root == "host" else directory


def start_in(guest: Guest, here: Path | None, share: Path | None) -> str:
    """Say where in a guest somebody starts who comes from the host; empty: where we are."""
    if here:
        return HERE
    if guest.root:
        return "/" if is_covered(Path.cwd()) else str(Path.cwd())
    return str(share.absolute()) if share else ""


def shell(guest: Guest, facts: Facts, wanted: Wanted, streams: Streams) -> int:
    """Let somebody work in a guest until the program ends; return its status, as a shell would.

    Raises GuestError if the guest goes first, SubjectError if the program cannot be started.
    """
    argv, limits, how = prepare(guest, facts, wanted)
    with guest.open(argv, limits, Deadline.after(START_SECONDS), how) as stream:
        return converse(Conversation(stream), streams)
