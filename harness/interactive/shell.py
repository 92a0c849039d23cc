"""A shell, or one command, in a guest that is booted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foothold_lab.harness.guests.base import HOST_DIRECTORY, Capabilities, Guest
from foothold_lab.harness.guests.host_root import is_covered
from foothold_lab.harness.guests.limit_support import support_for
from foothold_lab.harness.guests.seccomp_profile import seccomp_filter
from foothold_lab.harness.interactive.terminal import Streams, relay
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision, Window
from foothold_lab.harness.transport.conversation import Conversation
from foothold_lab.images.builder import Builder

START_SECONDS = 60.0  # for a program to be started, on a busy machine
_OURS = ("TERM", "COLORTERM")  # what a program has to know of the terminal that it writes to


@dataclass(frozen=True, kw_only=True)
class ProgramRequest:
    """A program to start in a guest (empty `argv`: a shell) under limits, with or without a
    terminal, in a directory of the guest (empty: its default).
    """

    argv: tuple[str, ...] = ()
    limits: str = "none"
    terminal: Window | None = None
    directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_streams(cls, streams: Streams, argv: Sequence[str], limits: Limits) -> ProgramRequest:
        """Return the request of a user at these streams."""
        known = {name: os.environ[name] for name in _OURS if name in os.environ}
        return cls(argv=tuple(argv), limits=str(limits), terminal=streams.window, environment=known)


def supervise(
    guest: Guest, facts: Facts, request: ProgramRequest
) -> tuple[tuple[str, ...], Limits, Supervision]:
    """Say what is to be started in a guest, under which limits, and how.

    Raises UnsupportedError if the guest cannot do the limits, UsageError if it has no shell.
    """
    limits = Limits.parse(request.limits)
    if not (support := support_for(guest, facts, limits)).ok:
        raise UnsupportedError(support.reason, support.remedy, code=Code.UNSUPPORTED_LIMIT)
    how = Supervision(
        environment=request.environment,
        directory=request.directory,
        root=guest.paths.root,
        terminal=request.terminal,
        seccomp=seccomp_filter(limits, facts, Builder()),
    ).under(limits)
    if guest.capabilities.tracer == "emulator" and not request.argv:
        raise UsageError(
            f"{guest.name} has no shell: what it started would not be emulated",
            f"name a program for that machine: foothold shell {guest.name} -- PROGRAM",
        )
    if guest.paths.root or guest.capabilities.host_paths:
        return request.argv or (os.environ.get("SHELL", "/bin/sh"),), limits, how
    ours = {"PS1": f"{guest.name}:\\w\\$ "}
    directory = request.directory
    if guest.paths.placement != "uploaded":  # there is no user but root
        ours |= {"HOME": "/root", "USER": "root"}
        directory = directory or "/root"
    environment = {**ours, **request.environment}
    how = replace(how, directory=directory, environment=environment)
    return request.argv or ("/bin/sh",), limits, how


def shared_directory(capabilities: Capabilities, root: str, share: Path | None) -> Path | None:
    """Choose the directory of the host that a guest shows on /host; None if it shows all.

    Raises UsageError.
    """
    if root == "host" and share:
        raise UsageError(
            "with --root host every directory is there already", "leave --share, or --root"
        )
    if not capabilities.shows_directories:
        if share:
            raise UsageError("this guest cannot show a directory of this machine", "leave --share")
        return None
    directory = (share or Path.cwd()).absolute()
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", "give an existing directory to --share")
    return None if capabilities.host_paths or root == "host" else directory


def start_directory(guest: Guest, shared: Path | None, share: Path | None) -> str:
    """Return the directory of a guest in which a shell starts; empty: the guest's default."""
    if shared:
        return HOST_DIRECTORY
    if guest.paths.root:
        return "/" if is_covered(Path.cwd()) else str(Path.cwd())
    return str(share.absolute()) if share else ""


def run_in_guest(guest: Guest, facts: Facts, request: ProgramRequest, streams: Streams) -> int:
    """Run a program on this terminal until it ends; return its status, as a shell would.

    Raises GuestError if the guest goes first, SubjectError if the program cannot be started.
    """
    argv, limits, how = supervise(guest, facts, request)
    with guest.open(argv, limits, Deadline.after(START_SECONDS), how) as stream:
        return relay(Conversation(stream), streams)
