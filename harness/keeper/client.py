"""A guest that a keeper keeps, as a test session uses it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec

from foothold_lab.harness import runner
from foothold_lab.harness.api.errors import image_errors_converted
from foothold_lab.harness.api.guest import OpenGuest, open_guest
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.keeper.messages import Answer, Failed, Ran, Ready, RunCell, receive, send
from foothold_lab.harness.keeper.place import LEASE, SOCKET, directory_of, leased
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import GuestError, InfrastructureError, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.runner.host_memory import available_memory
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.transport.unix_socket import socket_path
from foothold_lab.images.builder import Builder

START_SECONDS = 120.0  # for a keeper to answer, on a busy machine


@dataclass(kw_only=True)
class _RemoteGuest:
    """What an `OpenGuest` needs of a booted guest that another process has."""

    connection: socket.socket
    facts: Facts
    verdicts: list[Verdict] = field(default_factory=list)
    damaged: bool = False
    console: str = ""

    @property
    def guest(self) -> _RemoteGuest:
        """The guest: only what it printed last is known of it."""
        return self

    def diagnose(self) -> str:
        """Return the last lines of its console, as after its last cell."""
        return self.console

    def run(self, cell: Cell, subject: Subject, directory: Path) -> Verdict:
        """Run a cell. Raises as `run_added_cell`; GuestError if the keeper has gone."""
        try:
            send(self.connection, RunCell(cell, subject, str(directory.absolute())))
            answer = receive(self.connection, Answer)
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            self.damaged = True
            raise GuestError(f"the process that kept the guest has gone: {error}") from error
        if isinstance(answer, Failed):
            self.damaged |= answer.kind == GuestError.__name__
            raise answer.error()
        assert isinstance(answer, Ran)
        self.verdicts.append(answer.verdict)
        self.console, self.damaged = answer.console, self.damaged or answer.damaged
        return answer.verdict

    def leave(self) -> None:
        """Leave the guest to the next session. One that is damaged has gone afterwards."""
        if self.damaged:
            self.connection.settimeout(START_SECONDS)
            with contextlib.suppress(OSError):
                while self.connection.recv(1 << 16):
                    pass
        self.connection.close()


class KeptGuest(OpenGuest):
    """An open guest that outlives this process."""

    def _run(self, cell: Cell, subject: Subject, directory: Path) -> Verdict:
        return cast("_RemoteGuest", self.booted).run(cell, subject, directory)


@contextlib.contextmanager
def open_kept_guest(
    name: str, *, builder: Builder, directory: Path, seconds: float
) -> Iterator[OpenGuest]:
    """Use the kept guest of a canonical name, and leave it for the next session.

    It is booted if it is not kept yet, and ends after so many seconds without a session. If another
    session uses it, or the machine lacks the memory, a guest is booted for this session alone; so
    is a guest on the kernel of this machine, which has almost nothing to boot. Raises as
    `open_guest`.
    """
    with contextlib.ExitStack() as stack:
        with image_errors_converted():
            kind = find_guest(catalogue(builder), name)
            support = kind.supported(builder, directory)
            if not support.ok:
                raise UnsupportedError(support.reason, support.remedy)
            place = directory_of(kind, builder)
        remote: _RemoteGuest | None = None
        is_alone = kind.capabilities.own_kernel and stack.enter_context(leased(place))
        if is_alone:
            remote = _connect(place)
        if is_alone and not place.exists():  # a keeper has ended, and removed it
            is_alone = stack.enter_context(leased(place))
        memory = kind.memory + runner.PROGRAM_MEMORY
        if is_alone and remote is None and memory <= available_memory():
            _start(name, place, seconds)
            remote = _connect(place)
        if remote is None:
            yield stack.enter_context(open_guest(name, builder=builder, directory=directory))
            return
        stack.callback(remote.leave)
        directory.mkdir(parents=True, exist_ok=True)
        yield KeptGuest(name, directory, cast("runner.BootedGuest", remote))


def _connect(place: Path) -> _RemoteGuest | None:
    """Connect with the keeper in a directory; None without a keeper, or if its guest is not sound."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(START_SECONDS)
    try:
        with socket_path(place, SOCKET) as name:
            connection.connect(name)
        answer = receive(connection, Answer)
        if isinstance(answer, Ready):
            connection.settimeout(None)
            return _RemoteGuest(connection=connection, facts=answer.facts)
        while connection.recv(1 << 16):  # until the keeper has ended
            pass
    except (OSError, EOFError, msgspec.MsgspecError):
        pass
    connection.close()
    return None


def _start(name: str, place: Path, seconds: float) -> None:
    """Start a keeper, and wait until its guest is booted. Raises the error of the boot."""
    place.mkdir(mode=0o700, exist_ok=True)
    for left in place.iterdir():  # by a keeper that was killed
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.name != LEASE:
            left.unlink()
    reading, writing = os.pipe()
    with (place / "log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "foothold_lab.harness.keeper.server",
             name, str(place), str(seconds), str(writing)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, cwd="/", pass_fds=(writing,),
        )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline()
    if line == b"":
        raise InfrastructureError(
            f"the process that keeps {name} has ended: {_last_line(place / 'log')}",
            "run the tests without --foothold-keep",
        )
    if line != b"\n":
        failed: Failed = msgspec.json.decode(line, type=Failed)
        raise failed.error()


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "it left no message"
    return lines[-1] if lines else "it left no message"
