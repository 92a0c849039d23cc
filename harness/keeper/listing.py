"""Which guests are kept, and how to end them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from foothold_lab.harness.keeper.place import RECORD, SOCKET, kept_guests, remove
from foothold_lab.harness.keeper.server import Record
from foothold_lab.harness.transport.unix_socket import peer_of, socket_path

END_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A guest that is kept. `process` is its keeper, `age` the seconds since it was booted."""

    guest: str
    process: int
    age: float
    seconds: float
    directory: Path


def list_kept() -> Iterator[Kept]:
    """Yield the guests that are kept. What keepers have left that were killed is removed."""
    for directory in kept_guests():
        try:
            record = msgspec.json.decode((directory / RECORD).read_bytes(), type=Record)
            process = _process(directory)
        except FileNotFoundError:  # it is being booted
            continue
        except (OSError, msgspec.MsgspecError):
            remove(directory)
            continue
        yield Kept(
            guest=record.guest,
            process=process,
            age=time.time() - record.started,
            seconds=record.seconds,
            directory=directory,
        )


def end(kept: Kept) -> bool:
    """End a kept guest, also if a session uses it; say whether it has ended."""
    try:
        process = os.pidfd_open(kept.process)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        return bool(select.select([process], [], [], END_SECONDS)[0])
    finally:
        os.close(process)


def _process(directory: Path) -> int:
    """Return the process that listens in a directory: SO_PEERCRED of unix(7)."""
    with socket.socket(socket.AF_UNIX) as connection, socket_path(directory, SOCKET) as name:
        connection.connect(name)
        return peer_of(connection).process
