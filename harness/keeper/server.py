"""The keeper of one guest: boots it, runs cells for one session after another, ends by itself.

`python -m foothold_lab.harness.keeper.server GUEST DIRECTORY SECONDS PIPE`

It ends after SECONDS without a session, on SIGTERM, or when a cell has damaged the guest. If it is
killed, the guest ends as well: its guest keeper sees that.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from foothold_lab.harness.api.guest import OpenGuest, open_guest
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.keeper.messages import Answer, Failed, Ran, Ready, RunCell, receive, send
from foothold_lab.harness.keeper.place import RECORD, SOCKET, leased, remove
from foothold_lab.harness.model.errors import FootholdError, GuestError
from foothold_lab.harness.runner import run_added_cell
from foothold_lab.harness.transport.unix_socket import socket_path
from foothold_lab.images.errors import ImageError


class Record(msgspec.Struct):
    """What is recorded of a keeper: the guest, and its time limit without a session."""

    guest: str
    started: float
    seconds: float


def main(name: str, directory: Path, seconds: float, pipe: int) -> None:
    """Keep a guest. Writes a line into the pipe when it is booted: empty, or an error."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with contextlib.ExitStack() as stack:
            try:
                opened = stack.enter_context(open_guest(name, directory=directory / "guest"))
                listener = stack.enter_context(_listen(directory))
                record = Record(guest=name, started=time.time(), seconds=seconds)
                (directory / RECORD).write_bytes(msgspec.json.encode(record))
            except (FootholdError, ImageError) as error:
                os.write(pipe, msgspec.json.encode(Failed.of(error)) + b"\n")
                return
            os.write(pipe, b"\n")
            os.close(pipe)
            _serve(listener, opened, directory, seconds)
    except KeyboardInterrupt:
        pass
    finally:
        remove(directory)


def _listen(directory: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    with socket_path(directory, SOCKET) as name:
        listener.bind(name)
    listener.listen()
    return listener


def _serve(listener: socket.socket, opened: OpenGuest, directory: Path, seconds: float) -> None:
    """Serve one session after another, until no session has come for so long."""
    while True:
        if not select.select([listener], [], [], seconds)[0]:
            with leased(directory) as is_alone:
                if is_alone and not select.select([listener], [], [], 0)[0]:
                    return
            continue
        connection, _ = listener.accept()
        with contextlib.suppress(OSError, EOFError, msgspec.MsgspecError):
            if not _serve_session(connection, opened):
                connection.detach()  # its end tells the session that nothing of the guest is left
                return
        connection.close()


def _serve_session(connection: socket.socket, opened: OpenGuest) -> bool:
    """Run the cells of a session until it ends; say whether the guest is sound."""
    if why := _unsound(opened):
        send(connection, Failed.of(why))
        return False
    send(connection, Ready(facts=opened.facts))
    while True:
        answer = _run(receive(connection, RunCell), opened)
        send(connection, answer)
        if opened.booted.damaged:
            return False
        opened.verdicts.clear()


def _unsound(opened: OpenGuest) -> GuestError | None:
    """Return why a guest cannot be used any longer."""
    try:
        if isinstance(opened.guest, VirtualMachine):
            assert opened.guest.process_id
    except GuestError as error:
        return error
    return None


def _run(request: RunCell, opened: OpenGuest) -> Answer:
    opened.booted.missing_files.clear()
    try:
        place = Path(request.directory)
        verdict = run_added_cell(opened.booted, request.cell, request.subject, place)
    except (FootholdError, ImageError) as error:
        opened.booted.unsound |= isinstance(error, GuestError)
        return Failed.of(error)
    return Ran(verdict=verdict, console=opened.console, damaged=opened.booted.damaged)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
